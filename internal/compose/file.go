package compose

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// file is a Compose file that is being changed.
type file struct {
	to       string
	root     *yaml.Node
	text     *source
	check    CheckOptions
	services []named
	networks []named
	changes  []named             // networks that get another driver, sorted
	edited   map[*yaml.Node]bool // mappings that have it already
}

// named is a service or a network.
type named struct {
	name string
	key  *yaml.Node // nil: of a network that the file does not name
	body *yaml.Node // with aliases followed; nil: no mapping
}

// read finds the services and the networks, and which networks are to be changed.
func (f *file) read() (err error) {
	if f.services, err = section(f.root, "services"); err != nil {
		return err
	}
	if f.networks, err = section(f.root, "networks"); err != nil {
		return err
	}
	for _, n := range f.networks {
		if !isExternal(n.body) && f.changeable(word(n.body, "driver")) {
			f.changes = append(f.changes, n)
		}
	}
	has := slices.ContainsFunc(f.networks, func(n named) bool { return n.name == defaultNetwork })
	if f.to != Bridge && !has && len(f.users(defaultNetwork)) > 0 {
		f.changes = append(f.changes, named{name: defaultNetwork})
	}
	slices.SortFunc(f.changes, func(a, b named) int { return strings.Compare(a.name, b.name) })
	return nil
}

// defaultNetwork is that of services which name none.
const defaultNetwork = "default"

// changeable reports whether networks of this driver get the other one; Docker takes no
// driver for its own.
func (f *file) changeable(driver string) bool {
	if driver == f.to {
		return false
	}
	return isMybr(driver) || f.to != Bridge && (driver == "" || driver == Bridge)
}

func (f *file) names() []string {
	names := []string{}
	for _, n := range f.changes {
		names = append(names, n.name)
	}
	return names
}

// section lists the entries of a mapping of the file's top.
func section(root *yaml.Node, key string) (all []named, err error) {
	_, body := entry(root, key)
	body = follow(body)
	if body == nil || body.Tag == "!!null" {
		return nil, nil
	}
	if body.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: %s: want a mapping", body.Line, key)
	}
	for i := 0; i+1 < len(body.Content); i += 2 {
		name, value := body.Content[i], follow(body.Content[i+1])
		if name.Tag == "!!merge" {
			return nil, fmt.Errorf("line %d: %s: entries that come from an anchor can't be changed here: write them out", name.Line, key)
		}
		if value.Kind != yaml.MappingNode {
			if value.Tag != "!!null" {
				return nil, fmt.Errorf("line %d: %s %q: want a mapping", name.Line, strings.TrimSuffix(key, "s"), name.Value)
			}
			value = nil
		}
		all = append(all, named{name.Value, name, value})
	}
	return all, nil
}

// change writes the driver down for each network.
func (f *file) change() error {
	var missing bool
	for _, n := range f.changes {
		if n.key == nil {
			missing = true
			continue
		}
		if err := f.changeNetwork(n); err != nil {
			return fmt.Errorf("network %q: %w", n.name, err)
		}
	}
	if missing {
		f.addDefault()
	}
	return nil
}

func (f *file) changeNetwork(n named) error {
	if n.body == nil {
		f.fill(n)
		return nil
	}
	if f.edited[n.body] {
		return nil
	}
	f.edited[n.body] = true
	if err := f.addresses(n.body); err != nil {
		return err
	}
	if _, driver := entry(n.body, "driver"); driver != nil && driver.Tag != "!!null" {
		return f.text.replace(driver, f.to)
	} else if driver != nil {
		return fmt.Errorf("line %d: driver has no value: write it down or leave it out", driver.Line)
	}
	// A mapping that this one is merged from may be a network's that is changed, too.
	if _, driver, of := merged(n.body, "driver"); driver != nil && slices.ContainsFunc(f.changes, func(o named) bool { return o.body == of }) {
		return nil
	}
	f.text.put(n.body, "driver", f.to)
	return nil
}

// fill gives a network without a body one.
func (f *file) fill(n named) {
	_, all := entry(f.root, "networks")
	all = follow(all)
	_, value := entry(all, n.name)
	if value.Kind == yaml.ScalarNode && value.Value == "" && all.Style&yaml.FlowStyle == 0 {
		indent := strings.Repeat(" ", n.key.Column-1)
		f.text.insert(f.text.endOfLine(f.text.offset(n.key)), f.text.newline()+indent+"  driver: "+f.to)
		return
	}
	body := flow(n.key.Style&yaml.DoubleQuotedStyle != 0, "driver", f.to)
	at := f.text.value(value)
	f.text.edits = append(f.text.edits, edit{at: at, cut: len(value.Value), text: "{" + body + "}"})
}

// addDefault adds the network that services have which name none.
func (f *file) addDefault() {
	key, all := entry(f.root, "networks")
	switch all = follow(all); {
	case all != nil && all.Kind == yaml.MappingNode && (len(all.Content) > 0 || all.Style&yaml.FlowStyle != 0):
		f.text.put(all, defaultNetwork, "driver", f.to)
	case all != nil: // the key alone
		indent := strings.Repeat(" ", key.Column-1)
		at := f.text.endOfLine(f.text.offset(key))
		f.text.insert(at, f.text.newline()+indent+"  "+f.text.block(indent+"  ", defaultNetwork, "driver", f.to))
	case f.root.Style&yaml.FlowStyle != 0:
		f.text.put(f.root, "networks", defaultNetwork, "driver", f.to)
	default:
		nl := f.text.newline()
		before := nl
		if !strings.HasSuffix(string(f.text.text), "\n") {
			before += nl
		}
		f.text.insert(len(f.text.text), before+f.text.block("", "networks", defaultNetwork, "driver", f.to)+nl)
	}
}

// addresses gives a network that has its addresses from mybr the IPAM driver that goes with
// its new driver.
func (f *file) addresses(body *yaml.Node) error {
	_, ipam := entry(body, "ipam")
	ipam = follow(ipam)
	if ipam == nil || ipam.Kind != yaml.MappingNode || f.edited[ipam] {
		return nil
	}
	if _, driver := entry(ipam, "driver"); driver != nil && f.readdressed(follow(driver).Value) {
		f.edited[ipam] = true
		return f.text.replace(driver, f.ipam())
	}
	return nil
}

// ipam is the IPAM driver that goes with the driver: mybr's has the name of the network
// driver, with the tag of a managed plugin.
func (f *file) ipam() string {
	if f.to == Bridge {
		return "default"
	}
	return f.to
}

// readdressed reports whether networks with this IPAM driver get another one.
func (f *file) readdressed(driver string) bool { return isMybr(driver) && driver != f.ipam() }
