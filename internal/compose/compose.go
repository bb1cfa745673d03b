// Package compose changes which driver the networks of a Compose file have, and tells what
// would then differ for the services of that file. All other text stays as it is, byte for
// byte: comments, order, quotes, indentation. The result is read again and compared with
// what was asked for, so that a file that is written in a way that this package does not
// know is refused and not broken.
//
// Be aware: it reads one file. What include, extends, override files and variables bring
// is not seen; where a file has them, a note says so.
package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bridge is the name of Docker's own driver.
const Bridge = "bridge"

// mybrName is the name of mybr's drivers, for networks and for IPAM, as a service of the
// host. As a managed plugin they have a tag: mybr:latest.
const mybrName = "mybr"

// CheckOptions says whether mybr takes the options of a network.
type CheckOptions func(options map[string]string, internal, ipv6 bool) error

// Result is a changed file.
type Result struct {
	Text     []byte
	Networks []string // those that have another driver now, sorted; "default" may be new
	Notes    []Note
}

// Note is what differs for a part of the file.
type Note struct {
	Refused bool   // the driver will refuse this
	About   string // such as `service web`; "": the file
	Text    string
}

// Convert gives each network of the file that is of Docker's driver, or of mybr, the driver
// to: mybr, mybr:TAG or bridge.
func Convert(text []byte, to string, check CheckOptions) (Result, error) {
	if to != Bridge && !isMybr(to) {
		return Result{}, fmt.Errorf("driver %q: want bridge, mybr or mybr:TAG", to)
	}
	root, err := parse(text)
	if err != nil {
		return Result{}, err
	}
	// It also refuses a file whose aliases multiply, which would be followed without an end.
	var before map[string]any
	if err := yaml.Unmarshal(text, &before); err != nil {
		return Result{}, err
	}
	f := &file{to: to, root: root, text: newSource(text), check: check, edited: map[*yaml.Node]bool{}}
	if err := f.read(); err != nil {
		return Result{}, err
	}
	if err := f.change(); err != nil {
		return Result{}, err
	}
	changed, err := f.text.apply()
	if err != nil {
		return Result{}, err
	}
	if err := f.verify(before, changed); err != nil {
		return Result{}, err
	}
	return Result{Text: changed, Networks: f.names(), Notes: f.notes()}, nil
}

// isMybr reports whether a driver is mybr, as a service or as a managed plugin.
func isMybr(driver string) bool {
	return driver == mybrName || strings.HasPrefix(driver, mybrName+":") && len(driver) > len(mybrName)+1
}

// parse reads a file of one document, whose top is a mapping.
func parse(text []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file has several documents: a Compose file has one")
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("the file is no Compose file: it has no keys such as services")
	}
	return doc.Content[0], nil
}

// verify compares the changed text with what was wanted of it: what the file had, which is
// changed for that, with other drivers.
func (f *file) verify(want map[string]any, after []byte) error {
	var have map[string]any
	if err := yaml.Unmarshal(after, &have); err != nil {
		return fmt.Errorf("the file is written in a way that can't be changed here (%w): set the drivers by hand", err)
	}
	networks, _ := want["networks"].(map[string]any)
	if networks == nil {
		networks = map[string]any{}
	}
	for _, n := range f.changes {
		// Decoded mappings may be shared, where the file has aliases: each network gets its own.
		body := map[string]any{}
		if was, ok := networks[n.name].(map[string]any); ok {
			for key, value := range was {
				body[key] = value
			}
		}
		body["driver"] = f.to
		ipam, _ := body["ipam"].(map[string]any)
		if driver, _ := ipam["driver"].(string); f.readdressed(driver) {
			other := map[string]any{}
			for key, value := range ipam {
				other[key] = value
			}
			other["driver"] = f.ipam()
			body["ipam"] = other
		}
		networks[n.name] = body
	}
	if len(f.changes) > 0 {
		want["networks"] = networks
	}
	for _, all := range []map[string]any{want, have} {
		for key := range all {
			if strings.HasPrefix(key, "x-") { // only what uses them counts
				delete(all, key)
			}
		}
	}
	if !reflect.DeepEqual(have, want) {
		return fmt.Errorf("the drivers of %s can't be changed without changing something else (an anchor that other parts use?): set them by hand",
			strings.Join(f.names(), ", "))
	}
	return nil
}
