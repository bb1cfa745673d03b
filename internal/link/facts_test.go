package link

import (
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
)

// What an alias says behind whose the link is may change: that is a difference of its own,
// of links that stay as they are, whatever is known of them.
func TestFactsOfAliasesChange(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	v := veth(1, br)
	before := set([]Bridge{br}, v)
	apply(t, nil, before)
	index := func(name string) string {
		text, _, _ := strings.Cut(h.Run("ip", "-o", "link", "show", name), ":")
		return text
	}
	indexes := []string{index(br.Name), index(v.Host)}
	for _, have := range []*Set{nil, &before} {
		apply(t, nil, before)
		if have == nil { // given other names while mybr was away
			h.Run("ip", "link", "set", br.Name, "down")
			h.Run("ip", "link", "set", br.Name, "name", "other0")
			h.Run("ip", "link", "set", v.Host, "down")
			h.Run("ip", "link", "set", v.Host, "name", "other1")
		}
		br, v := br, v
		br.Alias, v.Alias = br.Alias+" o=c- 4=172.21.0.0/16,172.21.0.1,=,m", v.Alias+" m=024200000001"
		want := set([]Bridge{br}, v)
		p, err := (&Applier{}).Plan(t.Context(), have, want)
		if err != nil {
			t.Fatal(err)
		}
		changes := p.Changes()
		if have != nil && (len(changes) != 2 || !strings.Contains(changes[0], "alias ") || !strings.Contains(changes[1], "alias ")) {
			t.Errorf("planned are %q, want the aliases", changes)
		}
		apply(t, have, want)
		if now := []string{index(br.Name), index(v.Host)}; !slices.Equal(now, indexes) {
			t.Errorf("links were made anew: indexes %v, want %v", now, indexes)
		}
		for name, alias := range map[string]string{br.Name: br.Alias, v.Host: v.Alias} {
			if text := h.Run("ip", "-d", "link", "show", name); !strings.Contains(text, "alias "+alias) {
				t.Errorf("have %s, want alias %s", text, alias)
			}
		}
	}
}
