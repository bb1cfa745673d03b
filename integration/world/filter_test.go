package world_test

import (
	"slices"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// A table is taken apart whatever the lines are that nft(8) has its elements in.
func TestTableIsTakenApart(t *testing.T) {
	text := `table ip mybr {
	map from {
		type ifname : verdict
		elements = { "br1" : goto a,
			     "br2" : goto b }
	}

	chain forward {
		type filter hook forward priority filter - 1; policy accept;
		iifname vmap @from
	}
}
`
	want := []string{`t map from: "br1" : goto a`, `t map from: "br2" : goto b`,
		"t chain forward: type filter hook forward priority filter - 1; policy accept;", "t chain forward: iifname vmap @from"}
	if have := world.TableLines("t", text); !slices.Equal(have, want) {
		t.Errorf("have %q", have)
	}
}
