package egress_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// A list's names are its own and those of the lists that it names, with what is carried of them.
func TestNamed(t *testing.T) {
	lists := model.Lists{"apis": {Name: "apis", Egress: []string{"api.example.com", "192.0.2.1:443", "git.example.com:22"}}}
	for text, want := range map[string]struct {
		names   egress.Named
		carried egress.Ports
	}{
		"":                               {"", ""},
		"all":                            {"", ""},
		"none":                           {"", ""},
		"10.0.0.0/8,host:53":             {"", ""},
		"what is this":                   {"", ""},
		"@gone":                          {"", ""},
		"example.com":                    {"example.com", "80,443"},
		"*.example.com/tcp,10.0.0.0/8":   {"*.example.com/tcp", "80,443"},
		"@apis,api.example.com":          {"api.example.com,git.example.com:22", "22,80,443"},
		"ntp.example.com/udp":            {"ntp.example.com/udp", ""},
		"a.example:443,b.example:5000-9": {"", ""},
		"a.example:443,b.example:440-450,c.example:451": {"a.example:443,b.example:440-450,c.example:451", "440-451"},
	} {
		got := egress.RecordedNames(text, lists)
		if got != want.names || got.Carried() != want.carried {
			t.Errorf("%q: %q, carried %q", text, got, got.Carried())
		}
		if l, err := egress.Parse(string(got)); got != "" && (err != nil || !slices.Equal(l.Entries, got.Entries())) {
			t.Errorf("%q: %v", got, got.Entries())
		}
	}
}

// What is not carried of a named host is reached at its addresses, if the list says which ports or
// protocol it is.
func TestGranted(t *testing.T) {
	ports := func(first, last uint16) egress.Granted {
		return egress.Granted{Proto: model.TCP, PortRange: egress.PortRange{First: first, Last: last}}
	}
	for word, want := range map[string][]egress.Granted{
		"192.0.2.1:22":          nil,
		"example.com":           nil,
		"example.com/tcp":       nil,
		"example.com:443":       nil,
		"example.com:22":        {ports(22, 22)},
		"example.com:80-443":    {ports(81, 442)},
		"example.com:79-444":    {ports(79, 79), ports(81, 442), ports(444, 444)},
		"example.com:1-65535":   {ports(1, 79), ports(81, 442), ports(444, 65535)},
		"example.com/udp":       {{Proto: model.UDP}},
		"example.com:123/udp":   {{Proto: model.UDP, PortRange: egress.PortRange{First: 123, Last: 123}}},
		"example.com:80-90/udp": {{Proto: model.UDP, PortRange: egress.PortRange{First: 80, Last: 90}}},
		"example.com/icmp":      {{Proto: egress.ICMP}},
	} {
		e, err := egress.ParseEntry(word)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Granted(); !slices.Equal(got, want) {
			t.Errorf("%s: %v", word, got)
		}
		for _, c := range e.Carried() {
			for _, g := range e.Granted() {
				if g.Proto == model.TCP && (g.Has(80) || g.Has(443)) {
					t.Errorf("%s: %v is carried, and %v granted", word, c, g)
				}
			}
		}
	}
}

// Ports are those of the ranges, sorted, with others between.
func TestPorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		port := rapid.SampledFrom([]uint16{1, 2, 3, 4, 5, 6, 7, 8, 52, 53, 54, 65533, 65534, 65535})
		var ranges []egress.PortRange
		for range rapid.IntRange(0, 6).Draw(t, "ranges") {
			a, b := port.Draw(t, "a"), port.Draw(t, "b")
			ranges = append(ranges, egress.PortRange{First: min(a, b), Last: max(a, b)})
		}
		has := func(all []egress.PortRange, port uint16) bool {
			return slices.ContainsFunc(all, func(r egress.PortRange) bool { return r.Has(port) })
		}
		p := egress.NewPorts(ranges)
		got := p.Ranges()
		for i, r := range got {
			if r.First > r.Last || i > 0 && int(got[i-1].Last)+1 >= int(r.First) {
				t.Fatalf("%v: %v", ranges, got)
			}
		}
		without := port.Draw(t, "without")
		for n := range 1 << 16 {
			if n := uint16(n); has(got, n) != has(ranges, n) || has(p.Without(without), n) != (has(ranges, n) && n != without) {
				t.Fatalf("%v: %v, without %d %v: port %d", ranges, got, without, p.Without(without), n)
			}
		}
		if egress.NewPorts(got) != p {
			t.Errorf("%q again is %q", p, egress.NewPorts(got))
		}
	})
}
