package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// TestSpoof is about containers that send as somebody else.
func TestSpoof(t *testing.T) {
	withBackend(t, world.IPTables, nil, spoofing)
}

func spoofing(t *testing.T, w *world.World) {
	for name, subnet := range map[string]string{"n0": "172.18", "n1": "172.19"} {
		w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr"+name[1:], "--ipv6", "--subnet", subnet+".0.0/16", "--subnet", "fd00:"+subnet[4:]+"::/64",
			"-o", "mybr.spoof="+map[string]string{"n0": "refuse", "n1": "allow"}[name], name)
	}
	web := w.Serve("web", []string{"--net", "n0", "--ip", "172.18.0.2", "-p", "8080:80"}, "tcp:80", "udp:80")
	eve := w.Idle("eve", "--net", "n0", "--ip", "172.18.0.3")
	w.Docker("network", "connect", "--ip", "172.19.0.3", "n1", "eve")
	other := w.Serve("other", []string{"--net", "n1", "--ip", "172.19.0.2"}, "tcp:80", "udp:80")
	ben := w.Idle("ben", "--net", "n1", "--ip", "172.19.0.9")

	expect := func(when, want string) {
		t.Helper()
		if got := deceives(w, eve, web, "172.18.0.3", "172.18.0.2"); got != want {
			t.Errorf("%s: %q of eve's arrives, want %q", when, got, want)
		}
	}
	const all = allForged
	expect("refused", "")
	if got := deceives(w, ben, other, "172.19.0.9", "172.19.0.2"); got != all {
		t.Errorf("on a network that allows it %q of ben's arrives, want %q", got, all)
	}
	// Honest traffic is as ever, between both networks' addresses of one container, too.
	answered(t, "eve asks web", eve.Get("tcp", "172.18.0.2:80", soon))
	answered(t, "eve asks other", eve.Get("tcp", "172.19.0.2:80", soon))
	answered(t, "eve asks the LAN's way", w.LAN.Get("tcp", world.HostAddr+":8080", soon))
	matches(t, w)

	w.RestartMybr()
	expect("after a restart", "")
	w.KillMybr()
	expect("while mybr is away", "")
	w.Host.Run("nft", "delete", "table", "bridge", "mybr-spoof")
	expect("without the rules the test says something", all)
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) }) // it listens before its first pass has ended
	expect("after a crash", "")
	w.Host.Run("nft", "delete", "table", "bridge", "mybr-spoof")
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	expect("healed", "")

	for _, c := range []struct{ command, want string }{
		{"endpoint set --network n0 eve mybr.spoof.addresses=172.18.0.64/26", "source"},
		{"endpoint set --network n0 eve mybr.spoof.addresses=172.18.0.1 mybr.spoof.trusted=dhcp", "arp dhcp"},
		{"endpoint set --network n0 eve mybr.spoof.addresses= mybr.spoof.trusted=", ""},
		{"endpoint set --network n0 eve mybr.spoof=allow", all},
		{"endpoint set --network n0 eve mybr.spoof=", ""},
		{"network set n0 mybr.spoof=allow", all},
		{"network set n0 mybr.spoof=audit", all},
		{"endpoint set --network n0 eve mybr.spoof=refuse", ""},
		{"endpoint set --network n0 eve mybr.spoof=", all},
		{"network set n0 mybr.spoof=", ""},
	} {
		w.Host.Run(append([]string{"mybr"}, strings.Fields(c.command)...)...)
		expect(c.command, c.want)
		matches(t, w)
	}
	for command, says := range map[string]string{
		"network set n0 mybr.spoof=no":                                    "option mybr.spoof: no: want refuse, audit or allow",
		"network set n0 mybr.spoof.addresses=10.0.0.0/8":                  "option mybr.spoof.addresses is one of containers",
		"network set n0 mybr.spoof.adresses=10.0.0.0/8":                   "option mybr.spoof.adresses is not known",
		"endpoint set --network n0 eve mybr.spoof.addresses=10.0.0.1/8":   "10.0.0.1/8 has bits behind its prefix: want 10.0.0.0/8, or 10.0.0.1",
		"endpoint set --network n0 eve mybr.spoof.addresses=224.0.0.1":    "224.0.0.1 is no address to send from",
		"endpoint set --network n0 eve mybr.spoof.macs=ff:ff:ff:ff:ff:ff": "option mybr.spoof.macs: ff:ff:ff:ff:ff:ff is no address of an interface",
		"endpoint set --network n0 eve mybr.spoof.trusted=tftp":           "option mybr.spoof.trusted: tftp: want dhcp, ra",
	} {
		if r := w.Host.Try(append([]string{"mybr"}, strings.Fields(command)...)...); r.Code != 1 || !strings.Contains(r.Err, says) {
			t.Errorf("mybr %s: %+v, want %q", command, r, says)
		}
	}
	expect("after what was refused", "")
	w.Docker("rm", "-f", "web", "eve", "other", "ben")
	w.Docker("network", "rm", "n0", "n1")
	if text := w.Host.Run("nft", "list", "tables"); strings.Contains(text, "mybr-spoof") {
		t.Errorf("left: %s", text)
	}
}

// allForged is what deceives reports where nobody looks at senders.
const allForged = "arp source dhcp"

// deceives has a container send to another one of its network as the gateway, as a stranger and as
// a DHCP server, and reports which of that the other one sees; what it may send is behind all that,
// so that none of it can come later. own is its address, and all are of one /16.
func deceives(w *world.World, from, at *world.Place, own, to string) string {
	subnet := own[:strings.LastIndexByte(own, '.')]
	gateway, stranger := subnet+".1", subnet+".77"
	wire := at.Sniff("eth0")
	defer wire.Stop()
	from.Run("guest", "send", "-proto", "arp", "-src", gateway, "-link", "eth0", to, ",", "-src", stranger, "-proto", "udp", "-sport", "21001", "-link", "eth0", to, ",",
		"-src", own, "-proto", "udp", "-sport", "67", "-link", "eth0", to, ",", "-src", own, "-proto", "udp", "-sport", "21002", "-link", "eth0", to)
	var got []string
	w.Eventually(healWithin, func() error {
		got = nil
		last := false
		for _, p := range wire.Packets() {
			switch {
			case p.Proto == "arp" && p.Src.String() == gateway && p.Dst.String() == to && p.Type == 2:
				got = append(got, "arp")
			case p.Proto == "udp" && p.SrcPort == 21001 && p.Src.String() == stranger:
				got = append(got, "source")
			case p.Proto == "udp" && p.SrcPort == 67:
				got = append(got, "dhcp")
			}
			last = last || p.Proto == "udp" && p.SrcPort == 21002 && p.Src.String() == own
		}
		if !last {
			return fmt.Errorf("what %s may send does not arrive", own)
		}
		return nil
	})
	return strings.Join(got, " ")
}

// TestSpoofDefault is about networks that don't say whether senders are checked, beside those that
// do, and about what mybr serve --spoof changes for them while their containers run.
func TestSpoofDefault(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	w := world.New(t, world.Config{})
	w.Host.Run("sh", "-c", "ip link add theirs type bridge && ip link set theirs up")
	networks := []struct{ name, subnet, option string }{
		{"silent", "172.18.0", bridgeName + "mybr0"},
		{"open", "172.19.0", "mybr.spoof=allow"},
		{"strict", "172.20.0", "mybr.spoof=refuse"},
		{"theirs", "172.21.0", bridgeName + "theirs"}, // what else is on the bridge is not known
	}
	eve, web := map[string]*world.Place{}, map[string]*world.Place{}
	for _, n := range networks {
		w.Docker("network", "create", "-d", "mybr", "--subnet", n.subnet+".0/16", "-o", n.option, n.name)
		eve[n.name] = w.Idle("eve-"+n.name, "--net", n.name, "--ip", n.subnet+".3")
		web[n.name] = w.Idle("web-"+n.name, "--net", n.name, "--ip", n.subnet+".2")
	}
	for _, c := range []struct {
		when string
		args []string          // of mybr serve, which is started with them; nil: it goes on
		set  string            // by mybr network set
		want map[string]string // what arrives of what eve forges, on these networks
		none bool              // nobody is checked then
	}{
		{when: "by default", want: map[string]string{"silent": "", "open": allForged, "strict": "", "theirs": allForged}},
		{when: "told live", set: "silent mybr.spoof=allow", want: map[string]string{"silent": allForged, "strict": ""}},
		{when: "told live", set: "theirs mybr.spoof=refuse", want: map[string]string{"theirs": ""}},
		{when: "taken back", set: "theirs mybr.spoof=", want: map[string]string{"theirs": allForged}},
		{when: "taken back", set: "silent mybr.spoof=", want: map[string]string{"silent": ""}},
		{when: "with --spoof allow", args: []string{"--spoof", "allow"}, want: map[string]string{"silent": allForged, "strict": ""}},
		{when: "beside that", set: "strict mybr.spoof=allow", want: map[string]string{"strict": allForged}, none: true},
		{when: "with --spoof audit", args: []string{"--spoof", "audit"}, want: map[string]string{"silent": allForged}},
		{when: "without a flag", args: []string{}, want: map[string]string{"silent": "", "theirs": allForged}},
	} {
		if c.args != nil {
			w.MybrArgs(c.args...)
			w.RestartMybr()
			w.Eventually(healWithin, func() error { return mismatch(t, w) }) // it listens before its first pass has ended
		}
		if c.set != "" {
			w.Host.Run(append([]string{"mybr", "network", "set"}, strings.Fields(c.set)...)...)
		}
		for _, n := range networks {
			want, looks := c.want[n.name]
			if !looks {
				continue
			}
			if got := deceives(w, eve[n.name], web[n.name], n.subnet+".3", n.subnet+".2"); got != want {
				t.Errorf("%s %s: on the network %s %q of what is forged arrives, want %q", c.when, c.set, n.name, got, want)
			}
		}
		if rules := w.Host.Senders(); (len(rules) == 0) != c.none {
			t.Errorf("%s %s: the rules about senders are\n%s", c.when, c.set, strings.Join(rules, "\n"))
		}
		matches(t, w)
	}
	for _, n := range networks {
		w.Docker("rm", "-f", "eve-"+n.name, "web-"+n.name)
		w.Docker("network", "rm", n.name)
	}
	if left := w.Host.Senders(); len(left) > 0 {
		t.Errorf("left:\n%s", strings.Join(left, "\n"))
	}
}
