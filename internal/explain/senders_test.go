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

// What may be the answer of a DHCP server's can't be told: who is trusted with it is not read.
func TestSendersOfDHCP(t *testing.T) {
	s, port := &Space{Name: "host", Senders: map[string][]netip.Prefix{"veth3": prefixes("0.0.0.0/0")}}, &Link{Name: "veth3"}
	for _, c := range []struct {
		proto        string
		sport, dport uint16
		unknown      bool
	}{
		{UDP, 67, 9999, true}, {UDP, 6767, 68, true}, {UDP, 547, 9999, true}, {UDP, 7777, 546, true},
		{UDP, 68, 67, false}, {UDP, 546, 547, false}, {TCP, 67, 68, false},
	} {
		p := Packet{Proto: c.proto, Src: netip.MustParseAddr("192.0.2.1"), Sport: c.sport, Dport: c.dport}
		o := (&walker{}).sends(s, port, &p)
		if unknown := o != nil && o.verdict == Unknown; unknown != c.unknown || !unknown && o != nil {
			t.Errorf("%+v: %+v", c, o)
		}
	}
}
