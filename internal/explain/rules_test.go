package explain

import (
	"net/netip"
	"strings"
	"testing"
)

// space is a namespace with a bridge, an uplink, and rules of IPv4.
func spaceWith(t *testing.T, rules string) (*World, *Space) {
	t.Helper()
	f, err := ParseSave("iptables", false, rules)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := hostWithTwo()
	w.Spaces[0].Filters = []Filter{f}
	return w, w.Spaces[0]
}

// Rules as Docker, ufw and firewalld have them, and what a connection from a container to
// 192.0.2.9 port 80 meets in FORWARD.
func TestForward(t *testing.T) {
	for _, c := range []struct {
		name, rules string
		fate        fate
		by          string // the chain and number of the rule; "": a policy
	}{
		{"policy", ":FORWARD DROP [0:0]", dropped, ""},
		{"first match", ":FORWARD DROP [0:0]\n-A FORWARD -i br-a -j ACCEPT\n-A FORWARD -j DROP", passes, "FORWARD 1"},
		{"return", ":FORWARD DROP [0:0]\n:X - [0:0]\n-A FORWARD -j X\n-A FORWARD -j ACCEPT\n-A X -j RETURN\n-A X -j DROP", passes, "FORWARD 2"},
		{"goto", ":FORWARD DROP [0:0]\n:X - [0:0]\n-A FORWARD -g X\n-A FORWARD -j ACCEPT\n-A X -s 10.0.0.0/8 -j ACCEPT", dropped, ""},
		{"negation", ":FORWARD ACCEPT [0:0]\n-A FORWARD ! -i br-a -j DROP\n-A FORWARD -i br-a ! -o br-a -p tcp -m tcp ! --dport 22 -j REJECT --reject-with icmp-port-unreachable", rejected, "FORWARD 2"},
		{"limit before a log", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix \"[UFW BLOCK] \"\n-A FORWARD -j DROP", dropped, "FORWARD 2"},
		{"limit that does not matter", ":FORWARD ACCEPT [0:0]\n:L - [0:0]\n-A FORWARD -j L\n-A FORWARD -j DROP\n-A L -m limit --limit 3/min -j RETURN\n-A L -j LOG", dropped, "FORWARD 2"},
		{"limit that matters", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m limit --limit 3/min -j ACCEPT\n-A FORWARD -j DROP", puzzled, "FORWARD 1"},
		{"unknown match", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m set --match-set bad src -j DROP", puzzled, "FORWARD 1"},
		{"unknown match of another packet", ":FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.0.0.0/8 -m set --match-set bad src -j DROP", passes, ""},
		{"unknown module without options", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m socket -j DROP", puzzled, "FORWARD 1"},
		{"unknown target", ":FORWARD ACCEPT [0:0]\n-A FORWARD -j NFQUEUE --queue-num 1", puzzled, "FORWARD 1"},
		{"owner", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m owner --uid-owner 0 -j DROP", puzzled, "FORWARD 1"},
		{"mark", ":FORWARD ACCEPT [0:0]\n-A FORWARD -j MARK --set-xmark 0x4/0xffffffff\n-A FORWARD -m mark --mark 0x4/0x4 -j DROP", dropped, "FORWARD 2"},
		{"connection mark", ":FORWARD ACCEPT [0:0]\n-A FORWARD -j CONNMARK --set-xmark 0x1/0xffffffff\n-A FORWARD -m connmark ! --mark 0x1 -j DROP\n-A FORWARD -m mark --mark 0x1 -j DROP", passes, ""},
		{"state", ":FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -m state --state NEW -j ACCEPT", passes, "FORWARD 2"},
		{"multiport", ":FORWARD DROP [0:0]\n-A FORWARD -p tcp -m multiport --dports 22,79:81 -j ACCEPT", passes, "FORWARD 1"},
		{"comment", ":FORWARD DROP [0:0]\n-A FORWARD -m comment --comment \"a \\\"b\\\" -j DROP\" -j ACCEPT", passes, "FORWARD 1"},
		{"addrtype", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m addrtype --dst-type LOCAL -j DROP\n-A FORWARD -m addrtype ! --dst-type LOCAL -j DROP", dropped, "FORWARD 2"},
		{"prefix of a link", ":FORWARD ACCEPT [0:0]\n-A FORWARD -i br+ -j DROP", dropped, "FORWARD 1"},
		{"range of addresses", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m iprange --src-range 172.18.0.1-172.18.0.9 -j DROP", dropped, "FORWARD 1"},
		{"flags", ":FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", passes, ""},
		{"path back", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m rpfilter --invert -j DROP", dropped, "FORWARD 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, s := spaceWith(t, "*filter\n"+c.rules+"\nCOMMIT\n")
			p := Packet{Proto: TCP, Src: netip.MustParseAddr("172.18.0.2"), Dst: netip.MustParseAddr("192.0.2.9"), Dport: 80, in: "br-a", out: "eth0"}
			(&walker{w: w}).track(s, &p)
			v := w.table(s, &s.Filters[0], &s.Filters[0].Tables[0], "FORWARD", p)
			by := ""
			if v.rule != nil {
				by = strings.TrimSpace(v.rule.Chain + " " + string(rune('0'+v.rule.Number)))
			}
			if v.fate != c.fate || by != c.by {
				t.Errorf("fate %d by %q, want %d by %q", v.fate, by, c.fate, c.by)
			}
		})
	}
}

// Targets of NAT.
func TestTarget(t *testing.T) {
	for text, want := range map[string]string{
		"172.18.0.2": "172.18.0.2:0", "172.18.0.2:80": "172.18.0.2:80", "[fd00::2]:80": "[fd00::2]:80", "fd00::2": "[fd00::2]:0",
		"172.18.0.2:1000-1009/8000": "172.18.0.2:1003", "[fd00::2]:1000-1009/8000": "[fd00::2]:1003",
		"172.18.0.2:1000-1009": "", "172.18.0.2-172.18.0.3": "", "": "", "x:80": "",
	} {
		have, ok := target(text, 8003)
		if ok != (want != "") || ok && have.String() != want {
			t.Errorf("%s: %s %v, want %s", text, have, ok, want)
		}
	}
}

func TestParseSaveRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"-A FORWARD -j DROP":                                 "no table before it",
		"*filter\n-A X -j DROP":                              "chain X was not declared",
		"*filter\n:X - [0:0]\n-A X -m comment --comment \"a": "a quote is not closed",
		"*filter\n:X - [0:0]\n-A X -j":                       "no target",
		"*filter\n:X - [0:0]\n[1:x] -A X -j DROP":            "want [PACKETS:BYTES]",
		"*filter\n:X - [0:0]\n-A X -s":                       "too little behind -s",
		"*filter\nnonsense":                                  "want a rule",
	} {
		if _, err := ParseSave("iptables", false, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	f, err := ParseSave("iptables", false, "# by iptables-save\n*nat\n:PREROUTING ACCEPT [0:0]\n[3:180] -A PREROUTING -j ACCEPT\nCOMMIT\n")
	if err != nil || f.Tables[0].Chains[0].Rules[0].Packets != 3 || f.Tables[0].Chains[0].Rules[0].Bytes != 180 {
		t.Errorf("%+v, %v", f, err)
	}
}
