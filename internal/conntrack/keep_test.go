package conntrack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// Connections go on through a flush of all rules, while nothing else has flows tracked:
// a published one, whose client sends meanwhile, and a masqueraded one.
func TestKeep(t *testing.T) { inBoth(t, testKeep) }

func testKeep(t *testing.T, f testFamily) {
	h := nettest.New(t)
	lan, a := h.Peer("lan"), h.Peer("a")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.1/24")}}, lan, nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.2/24")}})
	h.Connect(nettest.End{Name: "va", Addresses: []string{f.say("172.18.0.1/24")}}, a, nettest.End{Name: "eth0", Addresses: []string{f.say("172.18.0.2/24")}})
	a.Route(f.say("0.0.0.0/0"), f.say("172.18.0.1"))
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	for _, server := range []*nettest.Host{lan, a} {
		server.Echo("tcp"+f.suffix, f.say("0.0.0.0:53"))
	}

	// flush has both connections made again, with rules, and says what is wrong with them
	// after those are gone.
	flush := func(patience time.Duration) (out, in error) {
		h.Run(f.command, "-t", "nat", "-A", "PREROUTING", "-i", "eth0", "-p", "tcp", "--dport", "53", "-j", "DNAT", "--to-destination", f.say("172.18.0.2:53"))
		h.Run(f.command, "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
		toLAN, toA := newStream(t, a, "tcp"+f.suffix, f.say("192.0.2.2:53")), newStream(t, lan, "tcp"+f.suffix, f.say("192.0.2.1:53"))
		h.Run("nft", "flush", "ruleset")
		_, out = nettest.AskOn(toLAN, patience)
		_, in = nettest.AskOn(toA, patience)
		return out, in
	}
	if out, in := flush(2 * time.Second); out == nil || in == nil {
		t.Errorf("connections went on by themselves: out: %v, in: %v", out, in)
	}
	k, err := keep()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if _, err := keep(); !errors.Is(err, unix.EPERM) {
		t.Errorf("the table is there and was made once more: %v", err)
	}
	if out, in := flush(10 * time.Second); out != nil || in != nil {
		t.Errorf("out: %v, in: %v", out, in)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if left := h.Run("nft", "list", "ruleset"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// newStream makes a TCP connection.
func newStream(t *testing.T, from *nettest.Host, network, to string) net.Conn {
	t.Helper()
	c, err := from.Dial(network, to, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// The table is there while a subnet is, and where it can't be made that is told once and
// is no failure.
func TestApplierKeeps(t *testing.T) {
	h := nettest.New(t)
	want := Set{Subnets: []Subnet{{Prefix: netip.MustParsePrefix("172.18.0.0/16"), Masquerade: true, Closed: true}}}
	var told []string
	a := &Applier{Info: func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }}
	there := func() bool { return strings.Contains(h.Run("nft", "list", "tables"), "table inet mybr") }
	for _, step := range []struct {
		have    *Set
		want    Set
		there   bool
		changes int
	}{
		{nil, Set{}, false, 0}, {&Set{}, want, true, 1}, {&want, want, true, 0}, {nil, want, true, 0}, {&want, Set{}, false, 1}, {&Set{}, want, true, 1},
	} {
		p, err := a.Plan(t.Context(), step.have, step.want)
		if err == nil {
			err = p.Do(t.Context())
		}
		if !step.there { // it leaves behind the plan
			err = errors.Join(err, a.released.wait(t.Context()))
		}
		if err != nil || there() != step.there || len(p.Changes()) != step.changes {
			t.Errorf("from %v to %v: changes %q, there %v, error %v", step.have, step.want, p.Changes(), there(), err)
		}
	}
	// A network that comes while the table of the last one is being removed has one.
	for range 5 {
		if err := errors.Join(a.Apply(t.Context(), &want, Set{}), a.Apply(t.Context(), &Set{}, want)); err != nil || !there() || len(told) > 0 {
			t.Errorf("made again: %v, there %v, told %q", err, there(), told)
		}
	}
	other := &Applier{Info: a.Info} // a process beside it
	for range 2 {
		if err := other.Apply(t.Context(), nil, want); err != nil {
			t.Error(err)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0], "not permitted") {
		t.Errorf("told: %q", told)
	}
	if err := a.Close(); err != nil || there() {
		t.Errorf("closed: %v, there %v", err, there())
	}

	// What can't be made is no change that is due, but it is tried again when rules may have
	// been missing.
	if p, err := other.Plan(t.Context(), nil, want); err != nil || len(p) > 0 {
		t.Errorf("planned: %q, %v", p.Changes(), err)
	}
	unsure := want
	unsure.Unsure = true
	if err := other.Apply(t.Context(), &unsure, want); err != nil || !there() {
		t.Errorf("once the other process has ended: %v, there %v", err, there())
	}
	if err := other.Close(); err != nil || there() {
		t.Errorf("closed: %v, there %v", err, there())
	}
}
