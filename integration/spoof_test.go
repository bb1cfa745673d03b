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

	// deceives has a container send as somebody else, and reports which of it the other one sees;
	// what it may send is behind all that, so that none of it can come later.
	deceives := func(from, at *world.Place, gateway, own, stranger, to string) string {
		wire := at.Sniff("eth0")
		defer wire.Stop()
		argv := []string{"guest", "send", "-proto", "arp", "-src", gateway, "-link", "eth0", to, ",", "-src", stranger, "-proto", "udp", "-sport", "21001", "-link", "eth0", to, ",",
			"-src", own, "-proto", "udp", "-sport", "67", "-link", "eth0", to, ",", "-src", own, "-proto", "udp", "-sport", "21002", "-link", "eth0", to}
		from.Run(argv...)
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
	expect := func(when, want string) {
		t.Helper()
		if got := deceives(eve, web, "172.18.0.1", "172.18.0.3", "172.18.0.77", "172.18.0.2"); got != want {
			t.Errorf("%s: %q of eve's arrives, want %q", when, got, want)
		}
	}
	const all = "arp source dhcp"
	expect("refused", "")
	if got := deceives(ben, other, "172.19.0.1", "172.19.0.9", "172.19.0.77", "172.19.0.2"); got != all {
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
