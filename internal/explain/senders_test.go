package explain

import (
	"net/netip"
	"strings"
	"testing"
)

// What a port may not send is dropped where it comes in; of other ports nothing is asked.
func TestSenders(t *testing.T) {
	for _, c := range []struct {
		name         string
		senders      map[string][]netip.Prefix
		want, reason string
	}{
		{"not checked", map[string][]netip.Prefix{"veth9": nil}, Delivered, ""},
		{"its own", map[string][]netip.Prefix{"veth3": prefixes("fe80::2/128")}, Delivered, ""},
		{"a prefix", map[string][]netip.Prefix{"veth3": prefixes("fe80::/10")}, Delivered, ""},
		{"another", map[string][]netip.Prefix{"veth3": prefixes("fe80::9/128")}, "", "table bridge mybr-spoof of host drops it: port veth3 may not send from fe80::2 (mybr.spoof)"},
	} {
		w := oneBridge()
		// Its chain alone would make everything unknown.
		w.Spaces[0].Low = []LowChain{{Family: "bridge", Table: SendersTable, Name: "prerouting", Hook: "prerouting", Rules: []LowRule{{Number: 1}}}}
		w.Spaces[0].Senders = c.senders
		r := Predict(w, Query{From: "host", Proto: TCP, Dst: netip.MustParseAddr("fe80::2%br0"), Dport: 80})
		if c.want != "" && r.Verdict != c.want || c.want == "" && r.Verdict == Delivered || !strings.Contains(r.Reason, c.reason) {
			t.Errorf("%s: %s (%s), want %s", c.name, r.Verdict, r.Reason, c.want)
		}
	}
}
