package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

var _ firewall.Backend = (*Backend)(nil)

// A difference is the elements that differ, nothing is read for it, and iptables isn't asked.
func TestDifferenceIsAFewElements(t *testing.T) {
	h := nettest.New(t)
	k := kindOf(t, "nft", ipv4())
	k.Docker2010(h)
	b := k.backend(t)
	p := firewalltest.TwoNetworks()
	firewalltest.Apply(t, b, nil, p)
	t.Setenv("PATH", t.TempDir())
	b.gate = nil
	more := p
	more.Ports = append(slices.Clone(p.Ports), firewalltest.Port(p.Networks[1], "udp 0.0.0.0:53 172.19.0.2:53", 2))
	steps, err := b.Plan(t.Context(), &p, more)
	want := []string{"nft: add element ip mybr published { udp . 53 : 172.19.0.2 . 53 }", "nft: add element ip mybr published { udp . 54 : 172.19.0.2 . 54 }"}
	if err != nil || !slices.Equal(steps.Changes(), want) {
		t.Errorf("%q, %v", steps.Changes(), err)
	}
	if err := steps.Do(t.Context()); err != nil {
		t.Error(err)
	}
}

// Where elements are missing that a difference takes for granted, it fails, changes nothing,
// and a plan in full mends it.
func TestDeltaFailsFullMends(t *testing.T) {
	h := nettest.New(t)
	b := newBackend(t)
	p := firewalltest.TwoNetworks()
	firewalltest.Apply(t, b, nil, p)
	clean := plainly(list(h, ipv4()))
	h.Run("nft", "flush", "map", "ip", tableName, setPublished)
	broken := plainly(list(h, ipv4()))
	less := p
	less.Ports = nil
	if err := b.Apply(t.Context(), &p, less); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "firewall: ") {
		t.Errorf("error %v", err)
	}
	if got := plainly(list(h, ipv4())); got != broken {
		t.Errorf("changed:\n%s", differences(got, broken))
	}
	firewalltest.Apply(t, b, nil, p)
	if got := plainly(list(h, ipv4())); got != clean {
		t.Errorf("not mended:\n%s", differences(got, clean))
	}
}

// Whatever others do to the table, a plan in full puts it right in one step a family, and
// tells what.
func TestMends(t *testing.T) {
	h := nettest.New(t)
	b := newBackend(t)
	p := firewalltest.TwoNetworks()
	firewalltest.Apply(t, b, nil, p)
	clean := plainly(list(h, ipv4()))
	for fault, told := range map[string]string{
		"flush ruleset":                                                                        "nft: add table ip mybr",
		"flush table ip mybr":                                                                  "nft: add rule ip mybr forward iifname vmap @from",
		"insert rule ip mybr forward drop":                                                     "nft: flush chain ip mybr forward",
		"add chain ip mybr more":                                                               "nft: delete chain ip mybr more",
		"add set ip mybr more { type ipv4_addr; }":                                             "nft: delete set ip mybr more",
		"delete element ip mybr to { \"br0\" }":                                                "nft: add element ip mybr to { \"br0\" : goto to-protected }",
		"add element ip mybr docker-bridges { \"eth0\" }":                                      "nft: delete element ip mybr docker-bridges { \"eth0\" }",
		"flush map ip mybr leaving":                                                            "nft: add element ip mybr leaving { 172.19.0.0/16 : goto to-host-address }",
		"add element ip mybr leaving { 10.0.0.0-10.0.0.5 : accept }":                           "nft: delete element ip mybr leaving { 10.0.0.0-10.0.0.5 : accept }",
		"add element ip mybr fixed-address { 224.0.0.0-255.255.255.255 : 192.0.2.1 }":          "nft: delete element ip mybr fixed-address { 224.0.0.0/3 : 192.0.2.1 }",
		"chain ip mybr forward { policy drop; }":                                               "nft: delete table ip mybr",
		"flush chain ip mybr forward; delete chain ip mybr forward; add chain ip mybr forward": "nft: delete table ip mybr",
		"delete table ip mybr; add table ip mybr; add map ip mybr published { type ipv4_addr : ipv4_addr; }": "nft: delete table ip mybr",
	} {
		h.Run("nft", fault)
		steps, err := b.Plan(t.Context(), nil, p)
		if err != nil || !slices.Contains(steps.Changes(), told) {
			t.Errorf("%s: %q, %v", fault, steps.Changes(), err)
		}
		for _, line := range steps.Changes() {
			if c, ok := b.Told(line); !ok || c.Command != "nft" || c.Table != "ip mybr" && c.Table != "ip6 mybr" {
				t.Errorf("%q is told as %+v", line, c)
			}
		}
		if err := steps.Do(t.Context()); err != nil {
			t.Errorf("%s: %v", fault, err)
		}
		if got := plainly(list(h, ipv4())); got != clean {
			t.Fatalf("%s: not mended:\n%s", fault, differences(got, clean))
		}
	}
}

// The words of a change are those of the rule or element that it is about.
func TestTold(t *testing.T) {
	for line, want := range map[string]firewall.Change{
		"nft: add table ip mybr":                                    {Command: "nft", Table: "ip mybr", Action: firewall.Added},
		"nft: delete table ip6 mybr":                                {Command: "nft", Table: "ip6 mybr", Action: firewall.Deleted},
		"nft: flush chain ip mybr forward":                          {Command: "nft", Table: "ip mybr", Chain: "forward", Action: firewall.Deleted},
		"nft: add rule ip mybr forward iifname vmap @from":          {Command: "nft", Table: "ip mybr", Chain: "forward", Action: firewall.Added, Rule: "iifname vmap @from"},
		"nft: delete element ip6 mybr to { \"br0\" : goto to-all }": {Command: "nft", Table: "ip6 mybr", Chain: "to", Action: firewall.Deleted, Rule: "{ \"br0\" : goto to-all }"},
	} {
		if got, ok := told(line); !ok || got != want {
			t.Errorf("%q: %+v, %t", line, got, ok)
		}
	}
	for _, line := range []string{"iptables filter: -A X -j Y", "nft: add table ip other", "nft: x"} {
		if got, ok := told(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

// What a published port has counted is told for each binding; a range is one.
func TestCount(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	w := newWorld(t, h, kindOf(t, alone, ipv4()))
	p := w.Policy(nil)
	p.Ports = firewalltest.Dual(firewall.Policy{Ports: []firewall.Port{firewalltest.Port(p.Networks[0], "tcp 0.0.0.0:9000 172.18.0.2:80", 3), firewalltest.Port(p.Networks[0], "udp 192.0.2.1:80 172.18.0.2:80", 1)}}).Ports
	w.Apply(p)
	w.Expect("lan tcp 192.0.2.1:9000 -> a lan\n lan tcp 192.0.2.1:9002 -> a lan")
	counted, err := w.b.Count(t.Context(), p.Ports)
	if err != nil || len(counted) != len(p.Ports) || counted[p.Ports[0].PortBinding].Connections != 2 || counted[p.Ports[1].PortBinding].Connections != 0 {
		t.Errorf("%v, %v", counted, err)
	}
	other := p.Ports[0]
	other.Host = netip.MustParseAddrPort("0.0.0.0:9001") // a port more than there is
	if counted, err := w.b.Count(t.Context(), []firewall.Port{other}); err != nil || len(counted) != 0 {
		t.Errorf("%v, %v", counted, err)
	}
}

// The backend's changes are known by the thread that has made them, and by its socket.
func TestOwn(t *testing.T) {
	nettest.New(t)
	b := newBackend(t)
	if b.Own(1) || b.Own(0) {
		t.Error("others are taken for the backend")
	}
	if !b.Own(unix.Gettid()) || !b.Own(os.Getpid()) {
		t.Error("its own threads are not known")
	}
	firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
	if len(b.sockets.ended) == 0 {
		t.Error("no socket is known")
	}
	kept := b.sockets.kept.address
	for address, ended := range b.sockets.ended {
		if ended.IsZero() != (address == kept) || !b.Own(address) {
			t.Errorf("socket %d, ended %s", address, ended)
		}
	}
	if b.Close(); b.sockets.ended[kept].IsZero() || !b.Own(kept) {
		t.Errorf("socket %d, ended %s", kept, b.sockets.ended[kept])
	}
	for table, want := range map[string]bool{tableName: true, "other": false} {
		if got := b.Matters(table, "", nil); got != want {
			t.Errorf("%s matters: %t", table, got)
		}
	}
	if !b.Matters("filter", "FORWARD", nil) || b.Matters("nat", "DOCKER", nil) {
		t.Error("what matters of iptables' chains")
	}
}

// The host takes from a bridge what it is to take.
func TestInput(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		h.Echo(w.Net("tcp"), k.In("0.0.0.0:90"))
		with := func(in firewall.Input) firewall.Policy {
			p := w.Policy(nil)
			if p.Networks[0].V6.Input = in; k.Family == model.IPv4 {
				p.Networks[0].V4.Input, p.Networks[0].V6.Input = in, firewall.InputAll
			}
			return p
		}
		all, none := with(firewall.InputAll), with(firewall.InputNone)
		firewalltest.Apply(t, w.b, nil, all)
		w.Expect("a tcp 172.18.0.1:90 -> host a\n a tcp 192.0.2.1:90 -> host a\n c tcp 172.19.0.1:90 -> host c")
		firewalltest.Apply(t, w.b, &all, none)
		w.Expect(`
			a tcp 172.18.0.1:90 -> nothing
			a tcp 192.0.2.1:90 -> nothing
			c tcp 172.19.0.1:90 -> host c
			a tcp lan:80 -> lan 192.0.2.1
			lan tcp 192.0.2.1:8080 -> a lan`)
		firewalltest.Apply(t, w.b, &none, all)
		w.Expect("a tcp 172.18.0.1:90 -> host a")
		if text := list(h, k.family); strings.Contains(text, "hook input") {
			t.Errorf("a chain at input without need:\n%s", text)
		}
	})
}

// Router advertisements are dropped, from that bridge, and nothing else of ICMPv6 is.
func TestInputNoAdvertisements(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	w := newWorld(t, h, kindOf(t, alone, ipv6()))
	p := w.Policy(nil)
	p.Networks[0].V6.Input = firewall.InputNoAdvertisements
	w.Apply(p)
	w.Pings(true, "a host, host a, a b")
	h.Run("nft", "add", "table", "ip6", "count")
	h.Feed(`table ip6 count { chain in { type filter hook input priority 10; icmpv6 type nd-router-advert iifname "br0" counter; icmpv6 type nd-router-advert iifname "br1" counter; }; }`, "nft", "-f", "-")
	for _, from := range []string{"a", "c"} {
		w.Advertise(from, map[string]string{"a": "172.18.0.1", "c": "172.19.0.1"}[from])
	}
	nettest.Eventually(t, 5*time.Second, func() error {
		if text := h.Run("nft", "list", "table", "ip6", "count"); !strings.Contains(text, `"br1" counter packets 1`) {
			return fmt.Errorf("from another network none arrives:\n%s", text)
		}
		return nil
	})
	if text := h.Run("nft", "list", "table", "ip6", "count"); !strings.Contains(text, `"br0" counter packets 0`) {
		t.Errorf("an advertisement arrives:\n%s", text)
	}
}

// Where mybr has the host forward, what nobody accepts is dropped: in iptables, if that has
// a table, and else here, with networks or without; in doubt it stays if it is there.
func TestDefaultDrop(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		d := func(p firewall.Policy) firewall.Policy {
			p.DefaultDrop = firewall.Families{V4: true, V6: true}
			return p
		}
		open, none := w.Policy(nil), firewall.Policy{}
		dropping, only := d(open), d(none)
		drops := func(when string, want bool) {
			t.Helper()
			text := list(h, k.family)
			if k.Name != alone {
				text = k.save(h)
			}
			if got := strings.Contains(text, "chain "+chainLast+" ") || strings.Contains(text, "-A FORWARD -j MYBR-FORWARD-DROP"); got != want {
				t.Errorf("%s: drops %t:\n%s", when, got, text)
			}
		}
		if k.Name != alone {
			k.Do(h, "-P FORWARD ACCEPT")
		}
		firewalltest.Apply(t, w.b, nil, open)
		drops("open", false)
		w.Expect("d tcp lan:80 -> lan d") // a bridge of others
		firewalltest.Apply(t, w.b, &open, dropping)
		drops("dropping", true)
		w.Expect(everyPath + "\n d tcp lan:80 -> nothing")
		firewalltest.Apply(t, w.b, &dropping, only)
		drops("without networks", true)
		w.Expect("d tcp lan:80 -> nothing")
		doubt := firewall.Policy{DropInDoubt: only.DefaultDrop}
		firewalltest.Apply(t, k.backend(t), nil, doubt)
		drops("in doubt", true)
		firewalltest.Apply(t, w.b, nil, none)
		drops("no more", false)
		firewalltest.Apply(t, k.backend(t), nil, doubt)
		drops("in doubt, where there is none", false)
		if text := list(h, k.family); text != "" {
			t.Errorf("left:\n%s", text)
		}
		w.Expect("d tcp lan:80 -> lan d")
	})
}

// iptables may get its tables later, as when dockerd starts: then it is told what passes.
func TestIptablesComesLater(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	w := newWorld(t, h, kindOf(t, alone, ipv4()))
	p := w.Policy(nil)
	w.Apply(p)
	w.k.Docker2010(h)
	w.Expect("lan tcp 192.0.2.1:8090 -> nothing") // the policy of FORWARD is DROP now
	w.Apply(p)
	w.Expect(everyPath + dockerPaths)
	w.Apply(firewall.Policy{})
	if text := list(h, ipv4()) + w.k.save(h); strings.Contains(text, "mybr") || strings.Contains(text, "MYBR") {
		t.Errorf("left:\n%s", text)
	}
}

// Beside a Docker that has its rules in nf_tables its bridges are known by those.
func TestDockersTable(t *testing.T) {
	t.Parallel()
	for _, fam := range []family{ipv4(), ipv6()} {
		h := nettest.New(t)
		w := newWorld(t, h, kindOf(t, alone, fam))
		for _, word := range []string{"ip", "ip6"} {
			h.Feed("table "+word+` docker-bridges {
				map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump in__docker0 }; }
				chain in__docker0 { ct state established,related accept; drop; }
				chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; }
			}`, "nft", "-f", "-")
		}
		w.Apply(w.Mode(firewall.DirectAll))
		w.Expect(`
			lan tcp a:80 -> a lan
			a tcp lan:80 -> lan 192.0.2.1
			d tcp lan:80 -> lan d
			d tcp a:80 -> nothing
			a tcp d:80 -> nothing`)
		if !w.b.Matters(DockersTable, "", nil) || w.b.Matters(DockersTable, "in__docker0", nil) {
			t.Error("what matters of Docker's table")
		}
	}
}

// The bit of the mark is there for the rule of iptables alone, and no other bit is touched.
func TestMarkIsGiven(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	w := newWorld(t, h, kindOf(t, "nft", ipv4()))
	w.k.Do(h, "-t mangle -A PREROUTING -p tcp -j MARK --set-mark 0x5")
	w.Apply(w.Policy(nil))
	h.Feed(`table ip count { chain post { type filter hook postrouting priority 300; meta mark 0x5 oifname "br0" ip protocol tcp counter; meta mark != 0x5 ip protocol tcp oifname "br0" ip saddr 192.0.2.2 counter; }; }`, "nft", "-f", "-")
	w.Expect("lan tcp 192.0.2.1:8080 -> a lan")
	text := h.Run("nft", "list", "table", "ip", "count")
	if !strings.Contains(text, `192.0.2.2 oifname "br0" counter packets 0`) && !strings.Contains(text, "ip saddr 192.0.2.2 counter packets 0") || strings.Contains(text, `ip protocol tcp counter packets 0`) {
		t.Errorf("marks:\n%s", text)
	}
}

// A policy with parts that are not valid is brought about without them.
func TestInvalid(t *testing.T) {
	h := nettest.New(t)
	p := firewalltest.TwoNetworks()
	p.Networks[1].V4.Input = "some"
	err := newBackend(t).Apply(context.Background(), nil, p)
	if !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), "id-br1") {
		t.Errorf("error %v", err)
	}
	if text := list(h, ipv4()); !strings.Contains(text, `"br0"`) || strings.Contains(text, `"br1"`) {
		t.Error(text)
	}
}

// Where iptables drops what is forwarded in IPv4, and can't be told what may pass, that is an error,
// and mybr's own table is made all the same.
func TestIptablesCannotBeTold(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ script, want string }{
		"no command":        {"", "firewall: iptables drops what is forwarded in IPv4, and can't be told what may pass: "},
		"the command fails": {"#!/bin/sh\ntest \"$1\" = --version && echo 'iptables v1.8.9 (nf_tables)' && exit; echo broken >&2; exit 3\n", "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			h := nettest.New(t)
			h.Run(nft, "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }")
			dir := t.TempDir()
			for _, command := range []string{"iptables", "iptables-save", "iptables-restore"} {
				if c.script == "" {
					break
				}
				if err := os.WriteFile(filepath.Join(dir, command), []byte(c.script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir)
			err := newBackend(t).Apply(t.Context(), nil, firewalltest.TwoNetworks())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "firewall: ") != 1 {
				t.Errorf("error %v", err)
			}
			if text := h.Run(nft, "list", "table", "ip", tableName); !strings.Contains(text, `"br0"`) {
				t.Errorf("mybr's table is\n%s", text)
			}
		})
	}
}

// Without ip6tables networks can't have IPv6 where rules of iptables drop that: by a policy, or
// as mybr has left them. Else they can; and IPv4 is as always.
func TestWithoutIP6tables(t *testing.T) {
	dir := t.TempDir()
	for _, command := range []string{"iptables", "iptables-save", "iptables-restore"} {
		path, err := exec.LookPath(command)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, command))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	filter := func(policy, more string) string {
		return "table ip6 filter { chain FORWARD { type filter hook forward priority 0; policy " + policy + "; }; " + more + " }"
	}
	for name, c := range map[string]struct {
		rules string
		drops bool
	}{
		"no table":                {"", false},
		"a policy that drops":     {filter("drop", ""), true},
		"a policy that accepts":   {filter("accept", "chain DOCKER-USER { };"), false},
		"a chain of mybr's":       {filter("accept", "chain MYBR-FORWARD-DROP { drop; };"), true},
		"a table of another name": {strings.Replace(filter("drop", ""), "filter", "other", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			h := nettest.New(t)
			h.Feed(c.rules, nft, "-f", "-")
			b := newBackend(t)
			noIPv6 := b.IPv6()
			if c.drops != (noIPv6 != nil) || c.drops && !strings.Contains(noIPv6.Error(), "ip6tables") {
				t.Errorf("IPv6: %v", noIPv6)
			}
			p := firewall.Policy{Networks: []firewall.Network{firewalltest.Network("br0", "172.18.0.0/16")}}
			if err := b.Apply(t.Context(), nil, p); err != nil {
				t.Errorf("IPv4 alone: %v", err)
			}
			err := b.Apply(t.Context(), nil, firewalltest.Dual(p))
			if c.drops != (err != nil) || c.drops && !strings.Contains(err.Error(), "drops what is forwarded in IPv6") {
				t.Errorf("with IPv6: %v", err)
			}
		})
	}
}

// 16384 ports are one transaction.
func TestManyPorts(t *testing.T) {
	h := nettest.New(t)
	b := newBackend(t)
	p := firewalltest.TwoNetworks()
	firewalltest.Apply(t, b, nil, p)
	many := p
	many.Ports = []firewall.Port{firewalltest.Port(p.Networks[0], "udp 0.0.0.0:10000 172.18.0.2:10000", 16384)}
	began := time.Now()
	firewalltest.Apply(t, b, &p, many)
	made := time.Since(began)
	if steps, err := b.Plan(t.Context(), nil, many); err != nil || len(steps) > 0 {
		t.Errorf("%d changes, %v", len(steps.Changes()), err)
	}
	read := time.Since(began) - made
	began = time.Now()
	firewalltest.Apply(t, b, &many, p)
	t.Logf("made in %s, compared in %s, removed in %s", made, read, time.Since(began))
	if text := h.Run("nft", "list", "map", "ip", tableName, setPublished); bytes.Count([]byte(text), []byte("udp")) != 0 {
		t.Error(text)
	}
}
