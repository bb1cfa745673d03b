package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"
)

// FuzzDecode: what is left as it is written is what it would have been; and a request is
// refused for a key that is there twice just when encoding/json's own tokens say so.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"Options":{"com.docker.network.portmap":[{"Port":1},{"Port":2}],"a":[],"b":{"c":[1]},"d":[[null]]},"EndpointID":"e"}`,
		`{"options":{"a":[1,2]},"NetworkID":"n"}`, `{"Optionſ":{"a":[1,2]}}`, `{"Optıons":{"a":[1,2]}}`, `{"Optıons":{"a":1},"Options":{"a":[1,2]}}`, `{"X":{"ı":1,"i":2,"İ":3}}`, `{"Options":{"\u0061":[1,2],"b":1}}`, `{"Options":{"a":[1,2],"a":null}}`,
		`{"Options":{"a":[1,2]},"Options":{"b":[1,2]}}`, `{"Options":null}`, `{"Options":[1,2]}`, `{"Options":{"a":[1e999]}}`, `{"Options":{"a":[1,2]},"EndpointID":7}`,
		`{"X":{"Options":{"a":[1,2],"a":1}}}`, `{"X":[{"a":1,"A":2}]}`, `{"Options":{"X":[{"a":1,"A":2,"a":3}]}}`, `{"Options":{"a":[1,2}`,
		`{"Options":{"k":[` + numberedKeys(20) + `]}}`, `{"Options":` + numberedKeys(40) + `}`, `{"Options":{"a":["` + "\xff" + `","\ud800"]}}`,
	} {
		f.Add([]byte(body))
	}
	addSent(f, func(c sentCall) { f.Add([]byte(c.body)) })
	f.Fuzz(func(t *testing.T, body []byte) {
		var whole, parts network.JoinRequest
		wholeErr, partsErr := decodeWith(body, &whole, len(body)), decodeWith(body, &parts, 0)
		if wholeErr == nil && partsErr == nil {
			for key, value := range parts.Options {
				raw, left := value.(json.RawMessage)
				if _, array := whole.Options[key].([]any); left != array {
					t.Errorf("%q: option %q is %T", body, key, value)
				}
				var read any
				if left && json.Unmarshal(raw, &read) != nil {
					t.Fatalf("%q: option %q is left as %q", body, key, raw)
				} else if left {
					parts.Options[key] = read
				}
			}
			if !reflect.DeepEqual(whole, parts) {
				t.Errorf("%q is %+v\nand in parts %+v", body, whole, parts)
			}
		} else if partsErr != nil && wholeErr == nil || partsErr == nil && !strings.Contains(wholeErr.Error(), "want float64, have number") {
			t.Errorf("%q: %v, and in parts: %v", body, wholeErr, partsErr) // a number that nobody reads may be any
		}
		if json.Valid(body) {
			have, want := checkKeys(body), keysByDecoder(body)
			if fmt.Sprint(have) != fmt.Sprint(want) {
				t.Errorf("%q: %v, want %v", body, have, want)
			}
		}
	})
}

// Options are those that encoding/json takes for them: with a dotless i they are an unknown field.
func TestDecodeFoldsNamesAsJSON(t *testing.T) {
	array := "[" + strings.Repeat("1,", largeOption) + "1]"
	for name, want := range map[string]bool{"Options": true, "OPTIONS": true, "Optionſ": true, "Optıons": false, "OptİOns": false} {
		var r network.JoinRequest
		if err := decode([]byte(`{"`+name+`":{"a":`+array+`},"EndpointID":"e"}`), &r); err != nil || r.EndpointID != "e" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if raw, left := r.Options["a"].(json.RawMessage); left != want || left && string(raw) != array {
			t.Errorf("%s: have option %.20s, left %t", name, raw, left)
		}
	}
}

// numberedKeys is an object with more keys than are looked at one by one, the last one twice.
func numberedKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	return "{" + b.String() + fmt.Sprintf(`"k%d":0}`, n-1)
}

// keysByDecoder is checkKeys as one writes it with encoding/json.
func keysByDecoder(text []byte) error {
	type object struct {
		keys                 map[string]bool
		value, fields, isMap bool
	}
	var within []*object
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for token, err := d.Token(); err == nil; token, err = d.Token() {
		fields := true
		if last := len(within) - 1; last >= 0 {
			o := within[last]
			if o.keys != nil && token != json.Delim('}') {
				if key, ok := token.(string); ok && !o.value {
					name := key
					if o.fields {
						for k := range o.keys {
							if strings.EqualFold(k, key) {
								name = k
							}
						}
						o.isMap = slices.ContainsFunc(mapFields, func(f string) bool { return strings.EqualFold(f, key) })
					}
					if o.keys[name] {
						return fmt.Errorf("the request has the key %q twice in one object", shorten(key))
					}
					o.keys[name] = true
				}
				o.value = !o.value
			}
			fields = o.fields && !o.isMap
		}
		switch token {
		case json.Delim('{'):
			within = append(within, &object{keys: map[string]bool{}, fields: fields})
		case json.Delim('['):
			within = append(within, &object{fields: fields})
		case json.Delim('}'), json.Delim(']'):
			within = within[:len(within)-1]
		}
	}
	return nil
}

// What the ports of a request cost does not grow faster than their number: a request is gone
// through a few times, and no value is made of a port.
func TestDecodeManyPorts(t *testing.T) {
	body := func(ports int) []byte {
		entry := `{"Proto":17,"IP":"","Port":20001,"HostIP":"","HostPort":20001,"HostPortEnd":20001},`
		return []byte(`{"NetworkID":"n","EndpointID":"e","Options":{"com.docker.network.portmap":[` + strings.TrimSuffix(strings.Repeat(entry, ports), ",") + `]}}`)
	}
	allocations := func(ports int) float64 {
		text := body(ports)
		return testing.AllocsPerRun(3, func() {
			var r network.ProgramExternalConnectivityRequest
			if err := decode(text, &r); err != nil {
				t.Error(err)
			}
			if raw, left := r.Options["com.docker.network.portmap"].(json.RawMessage); !left || len(raw) == 0 {
				t.Errorf("the ports are %.100v", r.Options)
			}
		})
	}
	if few, many := allocations(100), allocations(10000); many > few+20 {
		t.Errorf("%v allocations for 100 ports, %v for 10,000", few, many)
	}
}
