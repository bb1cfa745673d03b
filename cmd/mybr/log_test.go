package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// entry is one line of a log: its fields, all of them texts.
type entry map[string]string

// parseText reads a line of name=value, in which values with anything odd are quoted.
func parseText(t *testing.T, line string) entry {
	t.Helper()
	e := entry{}
	for rest := line; rest != ""; {
		name, behind, ok := strings.Cut(rest, "=")
		value := ""
		if quoted, err := strconv.QuotedPrefix(behind); err == nil {
			value, rest = quoted, behind[len(quoted):]
			if value, err = strconv.Unquote(value); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		} else {
			value, _, _ = strings.Cut(behind, " ")
			rest = behind[len(value):]
		}
		if _, twice := e[name]; !ok || twice || rest != "" && rest[0] != ' ' {
			t.Fatalf("%q is not a line of fields", line)
		}
		e[name], rest = value, strings.TrimPrefix(rest, " ")
	}
	return e
}

// parseJSON reads a line that is an object of texts and numbers.
func parseJSON(t *testing.T, line string) entry {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(line), &all); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	e := entry{}
	for name, value := range all {
		switch value.(type) {
		case string, float64, bool:
			e[name] = fmt.Sprint(value)
		default:
			t.Errorf("%q: %s is neither a text nor a number", line, name)
		}
	}
	return e
}

// logged is what mybr logs of some requests, without what differs from run to run.
func logged(t *testing.T, format string, parse func(*testing.T, string) entry) (all []entry) {
	nettest.New(t)
	dir := t.TempDir()
	i := up(t, dir, []string{"MYBR_LOG_FORMAT=" + format})
	d := newIdler(t, i)
	d.call(200, "NetworkDriver.CreateNetwork", "%s", createBody)
	d.call(400, "NetworkDriver.CreateNetwork", "%s", createBody[:len(createBody)-1]+`,"NetworkID":"other"}`)
	d.call(400, "NetworkDriver.CreateNetwork", `{"NetworkID":`)
	d.call(404, "NetworkDriver.Nothing", `{}`)
	d.endpoints(1)
	d.call(200, "IpamDriver.RequestPool", `{"AddressSpace":"mybr-local","Pool":"10.197.0.0/24"}`)
	d.addresses(0, 1)
	d.call(200, "NetworkDriver.DeleteNetwork", `{"NetworkID":%q}`, networkID)
	i.signal(t, unix.SIGTERM)
	if code := i.ended(t); code != 0 {
		t.Errorf("%s: exit %d", format, code)
	}
	varying := regexp.MustCompile(regexp.QuoteMeta(dir) + `|\bpid \d+\b|\bfd[0-9a-f:]+/48\b|\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b|\bfe80:[0-9a-f:]+`) // MACs are random
	for line := range strings.Lines(i.log.String()) {
		e := parse(t, strings.TrimSuffix(line, "\n"))
		for _, name := range []string{"time", "level", "msg"} {
			if e[name] == "" {
				t.Errorf("%s: no %s in %q", format, name, line)
			}
		}
		if e["method"] == "" && e["aspect"] == "" || e["level"] == "debug" {
			continue // such as that a pass takes long
		}
		for _, name := range []string{"time", "took"} { // they differ from run to run
			if _, ok := e[name]; ok {
				e[name] = "…"
			}
		}
		for name, value := range e {
			e[name] = varying.ReplaceAllString(value, "…")
		}
		all = append(all, e)
	}
	return all
}

// A log has a line for each request and for each change of the host, and JSON has the fields
// that the text has, with the same values.
func TestLogFormats(t *testing.T) {
	var text, asJSON []entry
	t.Run(formatText, func(t *testing.T) { text = logged(t, formatText, parseText) })
	t.Run(formatJSON, func(t *testing.T) { asJSON = logged(t, formatJSON, parseJSON) })
	for i := range min(len(text), len(asJSON)) {
		if !maps.Equal(text[i], asJSON[i]) {
			t.Errorf("line %d is\n%q as text, and\n%q as JSON", i, text[i], asJSON[i])
		}
	}
	if len(text) != len(asJSON) {
		t.Errorf("%d lines as text, %d as JSON", len(text), len(asJSON))
	}
	count := func(fields entry) (n int) {
		for _, e := range text {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(fields)), func(name string) bool { return !strings.Contains(e[name], fields[name]) }) {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		fields entry
		want   int
	}{
		{entry{"msg": "call", "method": "NetworkDriver.CreateNetwork"}, 3}, // one was carried out, and two refused,
		{entry{"msg": "call refused", "method": "NetworkDriver.CreateNetwork", "level": "warning", "error": "is not JSON"}, 1},
		{entry{"msg": "call", "method": "NetworkDriver.DeleteNetwork", "network": networkID[:12], "took": "…"}, 1},
		{entry{"msg": "host changed", "aspect": "links", "change": "link mybr0: add"}, 1},
		{entry{"msg": "host changed", "aspect": "links", "change": "link mybr0: delete"}, 1},
		{entry{"msg": "host changed", "aspect": "senders", "change": "add element bridge mybr-spoof macs"}, 1}, // without that it is asked for
	} {
		if n := count(c.fields); n != c.want {
			t.Errorf("%d lines have %v, want %d", n, c.fields, c.want)
		}
	}
	if t.Failed() {
		for _, e := range text {
			t.Log(e)
		}
	}
}
