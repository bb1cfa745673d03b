package host

import (
	"fmt"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
)

// What nft(8) prints of the table is read: own addresses, and prefixes; ports that are only watched may
// send everything.
func TestSenders(t *testing.T) {
	h := nettest.New(t)
	read := func() string {
		may, err := parseSenders(h.Run("nft", "--json", "list", "ruleset"))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(may)
	}
	if got := read(); got != "map[]" {
		t.Errorf("without a table: %s", got)
	}
	h.Feed(`table bridge mybr-spoof {
		chain port { drop; }
		map ports { type ifname : verdict; elements = { "vetha" : goto port, "vethb" : goto port, "vethw" : goto port }
		}
		set audited { type ifname; counter; elements = { "vethw" }
		}
		set macs { typeof iifname . ether saddr; elements = { "vetha" . 02:42:00:00:00:02 }
		}
		set sources4 { typeof iifname . ether saddr . ip saddr; elements = { "vetha" . 02:42:00:00:00:02 . 10.9.0.2, "vethw" . 02:42:00:00:00:03 . 10.9.0.3 }
		}
		set sources6 { typeof iifname . ether saddr . ip6 saddr; elements = { "vetha" . 02:42:00:00:00:02 . fe80::2 }
		}
		set prefixes4 { typeof ip saddr . iifname; flags interval; elements = { 10.0.0.0/8 . "vetha", 192.0.2.7 . "vetha", 0.0.0.0/0 . "vethb" }
		}
	}
	table bridge other { set sources4 { typeof iifname . ether saddr . ip saddr; elements = { "vethc" . 02:42:00:00:00:02 . 10.9.0.2 }
		}
	}`, "nft", "-f", "-")
	if got := read(); got != "map[vetha:[10.9.0.2/32 fe80::2/128 10.0.0.0/8 192.0.2.7/32] vethb:[0.0.0.0/0]]" {
		t.Error(got)
	}
}
