package driver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
)

// options writes o as Docker would send it.
func (o netOptions) options() map[string]any {
	user := map[string]any{
		optICC:         strconv.FormatBool(o.ICC),
		optMasquerade:  strconv.FormatBool(o.Masquerade),
		optInhibit:     strconv.FormatBool(o.Inhibit),
		optMTU:         strconv.Itoa(o.MTU),
		optIfacePrefix: o.IfacePrefix,
	}
	if o.Bridge != "" {
		user[optBridge] = o.Bridge
	}
	if o.HostBinding.IsValid() {
		user[optHostBinding] = o.HostBinding.String()
	}
	sent := map[string]any{optInternal: o.Internal, optGeneric: user}
	for _, f := range model.Families() {
		if o.Families[f].SNAT.IsValid() {
			user[snatKey(f)] = o.Families[f].SNAT.String()
		}
		user[modeKey(f)] = cmp.Or(string(o.Families[f].Mode), "nat")
		if o.since28 || f == model.IPv6 {
			sent[enableKey(f)] = o.Families[f].On
		}
	}
	if o.NoAnnounce {
		user[optAdvertiseCount] = "0"
	}
	if o.Trusted != nil {
		user[optTrusted] = strings.Join(o.Trusted, ":")
	}
	var routes []string
	for _, r := range o.Routes {
		text := r.Destination.String()
		if r.NextHop.IsValid() {
			text += " via " + r.NextHop.String()
		}
		routes = append(routes, text)
	}
	if routes != nil {
		user[optRoutes] = strings.Join(routes, ", ")
	}
	return sent
}

func addr4(t *rapid.T) netip.Addr {
	return netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "b"), rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")})
}

func addrOf(f model.Family, t *rapid.T) netip.Addr {
	a := addr4(t)
	if f == model.IPv4 {
		return a
	}
	b := a.As4()
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: b[1], 2: b[2], 15: 1 + b[3]&0x7f})
}

func randomOptions(t *rapid.T) netOptions {
	name := rapid.StringMatching(`[a-z0-9_][a-zA-Z0-9_.-]{2,12}`).Filter(func(s string) bool { return s != "all" && s != "default" })
	o := netOptions{
		Internal: rapid.Bool().Draw(t, "internal"), Inhibit: rapid.Bool().Draw(t, "inhibit"),
		ICC: rapid.Bool().Draw(t, "icc"), Masquerade: rapid.Bool().Draw(t, "masquerade"),
		MTU:         rapid.OneOf(rapid.Just(0), rapid.IntRange(minMTU, maxMTU)).Draw(t, "mtu"),
		IfacePrefix: name.Draw(t, "prefix"),
	}
	if rapid.Bool().Draw(t, "named") {
		o.Bridge = name.Draw(t, "bridge")
	}
	switch rapid.IntRange(0, 2).Draw(t, "binding") {
	case 1:
		o.HostBinding = addr4(t)
	case 2:
		o.HostBinding = netip.IPv6Unspecified()
	}
	o.NoAnnounce = rapid.Bool().Draw(t, "no announce")
	o.since28 = rapid.Bool().Draw(t, "since 28")
	modes := []model.Mode{model.ModeNAT, model.ModeNATUnprotected, model.ModeRouted}
	if o.Internal {
		modes = append(modes, model.ModeIsolated)
	}
	for _, f := range model.Families() {
		o.Families[f].On = f == model.IPv4 && !o.since28 || rapid.Bool().Draw(t, "on")
		o.Families[f].Mode = rapid.SampledFrom(modes).Draw(t, "mode")
		if rapid.Bool().Draw(t, "snat") {
			o.Families[f].SNAT = addrOf(f, t)
		}
	}
	if !o.Families[model.IPv4].On && !o.Families[model.IPv6].On {
		o.Families[model.IPv6].On = true
	}
	o.Trusted = rapid.SampledFrom([][]string{nil, {"eth0"}, {"eth0", "wg-home"}}).Draw(t, "trusted")
	seen := map[netip.Prefix]bool{}
	for range rapid.IntRange(0, 4).Draw(t, "routes") {
		f := rapid.SampledFrom([]model.Family{model.IPv4, model.IPv6}).Draw(t, "family")
		r := model.Route{Destination: netip.PrefixFrom(addrOf(f, t), rapid.IntRange(1, 32).Draw(t, "bits")).Masked()}
		if seen[r.Destination] {
			continue
		}
		seen[r.Destination] = true
		if rapid.Bool().Draw(t, "via") {
			r.NextHop = addrOf(f, t)
		}
		o.Routes = append(o.Routes, r)
	}
	return o
}

func TestOptionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := randomOptions(t)
		text, err := json.Marshal(want.options())
		if err != nil {
			t.Fatal(err)
		}
		var sent map[string]any
		if err := json.Unmarshal(text, &sent); err != nil {
			t.Fatal(err)
		}
		have, err := parseNetOptions(sent)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(have, want) {
			t.Fatalf("have %+v\nwant %+v", have, want)
		}
	})
}

// Whatever a value is, what is accepted can be named in rules and paths, and what is
// refused is refused in words that name the option.
func TestAnyStringIsReadOrRefused(t *testing.T) {
	keys := []string{optBridge, optICC, optMasquerade, optHostBinding, optInhibit, optMTU, optIfacePrefix,
		optTrusted, snatKey(model.IPv4), snatKey(model.IPv6), modeKey(model.IPv4), modeKey(model.IPv6), optAdvertiseCount, optAdvertiseInterval, optDefaultBridge, optInternal, enableKey(model.IPv4), enableKey(model.IPv6), optRoutes, "x"}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom(keys).Draw(t, "key")
		value := rapid.OneOf(rapid.String(), rapid.StringMatching(`[-.0-9a-z:/ ,+]{0,20}`)).Draw(t, "value")
		o, err := parseNetOptions(map[string]any{optGeneric: map[string]any{key: value}})
		if err != nil {
			if !strings.Contains(err.Error(), key) || key != "x" && !strings.Contains(err.Error(), "option") && !strings.HasPrefix(err.Error(), "failed to parse") && !strings.HasPrefix(err.Error(), key) {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, name := range []string{o.Bridge, o.IfacePrefix} {
			if len(name) > 15 || strings.ContainsAny(name, "/+ \"'\\%:!\t\n") || strings.HasPrefix(name, "-") {
				t.Fatalf("accepted %q", name)
			}
		}
		if o.MTU != 0 && (o.MTU < 68 || o.MTU > 65535) {
			t.Fatalf("accepted MTU %d", o.MTU)
		}
	})
}

func TestDefaults(t *testing.T) {
	want := netOptions{ICC: true, Masquerade: true, IfacePrefix: "eth", Families: [2]familyOptions{{On: true}, {}}}
	for _, text := range []string{
		`null`, `{}`, `{"com.docker.network.generic":null}`, `{"com.docker.network.generic":{}}`,
		`{"com.docker.network.enable_ipv4":true,"com.docker.network.enable_ipv6":false,"com.docker.network.internal":false,"com.docker.network.generic":{}}`,
		`{"com.docker.network.something.new":[1],"com.docker.network.internal":null}`,
		`{"com.docker.network.generic":{"com.docker.network.driver.mtu":null}}`,
	} {
		var opts map[string]any
		must(t, json.Unmarshal([]byte(text), &opts))
		have, err := parseNetOptions(opts)
		must(t, err)
		have.since28 = false // that depends on what is sent
		if !reflect.DeepEqual(have, want) {
			t.Errorf("%s: have %+v, want %+v", text, have, want)
		}
	}
}

func TestOneOfSeveralFaults(t *testing.T) {
	for range 20 {
		_, err := parseNetOptions(map[string]any{optGeneric: map[string]any{"c": "", "a": "", "b": ""}})
		wantErr(t, err, model.ErrInvalid, "option a is not known")
		err = endpointOptionsError(map[string]any{"c": 1, "a": 1, optIfname: ""})
		wantErr(t, err, model.ErrInvalid, "option a is not known")
	}
}

func TestPortMapFromAnyDecoder(t *testing.T) {
	want := []portEntry{{Proto: 6, Port: 80, HostPort: 8080, HostPortEnd: 8080}}
	for _, use := range []bool{false, true} {
		dec := json.NewDecoder(strings.NewReader(fmt.Sprintf(`{%q:%s}`, optPortMap, port8080)))
		if use {
			dec.UseNumber()
		}
		var opts map[string]any
		must(t, dec.Decode(&opts))
		have, err := parsePortMap(opts)
		must(t, err)
		if !reflect.DeepEqual(have, want) {
			t.Errorf("have %+v, want %+v", have, want)
		}
	}
}

// FuzzEntries: what is read as Docker writes it is what encoding/json reads, and nothing else
// is taken for it.
func FuzzEntries(f *testing.F) {
	for _, text := range []string{
		port8080, `[]`, `null`, `[null]`, `{}`, `[[]]`, `[{"Proto":6,"IP":"","Port":80,"HostIP":"0.0.0.0","HostPort":8080,"HostPortEnd":8081},{"HostIP":"::"},{}]`,
		`[{"proto":6}]`, `[{"Proto":256}]`, `[{"Proto":-1}]`, `[{"Port":65536}]`, `[{"Port":1.0}]`, `[{"Port":1e3}]`, `[{"Port":null}]`, `[{"Port":"1"}]`,
		`[{"HostIP":"\u0031"}]`, `[{"HostIP":7}]`, `[{"HostIP":null},{"HostIP":"1"},{}]`, `[{"IP":7}]`, `[{"IP":"\n"}]`, `[{"IP":[{}],"Port":1}]`, `[{"More":1}]`, `[{"Port":1,"Port":2}]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			t.Skip()
		}
		have, ok := scanEntries(text)
		if !ok {
			return
		}
		want, err := readEntries(text)
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("%s is %+v, want %+v, %v", text, have, want, err)
		}
	})
}

// The ports of a container are read as they are written, without a value for each.
func TestManyEntries(t *testing.T) {
	allocations := func(ports int) float64 {
		entry := `{"Proto":17,"IP":"","Port":20001,"HostIP":"0.0.0.0","HostPort":20001,"HostPortEnd":20001},`
		opts := map[string]any{optPortMap: json.RawMessage("[" + strings.TrimSuffix(strings.Repeat(entry, ports), ",") + "]")}
		return testing.AllocsPerRun(3, func() {
			entries, err := parsePortMap(opts)
			if err != nil || len(entries) != ports || entries[ports-1] != (portEntry{17, 20001, "0.0.0.0", 20001, 20001}) {
				t.Errorf("%d entries, %v", len(entries), err)
			}
		})
	}
	if few, many := allocations(100), allocations(10000); many > few+5 {
		t.Errorf("%v allocations for 100 ports, %v for 10,000", few, many)
	}
}
