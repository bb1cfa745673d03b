package reconcile

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// namedSnapshot is a network with a list and two endpoints, of which the second has one of its own.
func namedSnapshot(network, endpoint string) model.Snapshot {
	pre := netip.MustParsePrefix
	return model.Snapshot{
		Networks: []model.Network{{ID: "n", Bridge: "br0", Owned: true, ICC: true, Egress: network,
			V4: model.Subnet{Prefix: pre("172.18.0.0/16"), Address: pre("172.18.0.1/16"), Masquerade: true},
			V6: model.Subnet{Prefix: pre("fd00:18::/64"), Address: pre("fd00:18::1/64"), Masquerade: true}}},
		Endpoints: []*model.Endpoint{
			{ID: "a", NetworkID: "n", V4: pre("172.18.0.2/16"), V6: pre("fd00:18::2/64")},
			{ID: "b", NetworkID: "n", V4: pre("172.18.0.3/16"), Egress: endpoint},
		},
	}
}

func way(entry, to string) Way {
	e, err := egress.ParseEntry(entry)
	if err != nil {
		panic(err)
	}
	return Way{e, netip.MustParseAddr(to)}
}

// policy is what the packet filter was told last.
func (h *harness) policy() firewall.Policy {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.firewall.last
}

// granted is what of that are grants, in words.
func (h *harness) granted() string {
	var all []string
	for _, g := range h.policy().Grants {
		all = append(all, fmt.Sprintf("%s>%s/%s:%d-%d", g.Addr, g.To, g.Proto, g.First, g.Last))
	}
	return strings.Join(all, " ")
}

// Ways stand when Open returns, and cost no pass while they do; they go when they expire, and when
// the list does not have the name any more.
func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		h.set(namedSnapshot("git.example.com:22,ntp.example.com/udp,example.com", ""))
		h.run(t)
		<-h.r.Ready()
		open := func(endpoint string, lasting time.Duration, ways ...Way) {
			t.Helper()
			if err := h.r.Open(t.Context(), endpoint, ways, lasting); err != nil {
				t.Fatal(err)
			}
		}
		check := func(want string) {
			t.Helper()
			if got := h.granted(); got != want {
				t.Errorf("granted: %s\nwant     %s", got, want)
			}
			if err := h.policy().Validate(); err != nil {
				t.Error(err)
			}
		}
		h.took()
		open("a", time.Minute, way("example.com", "192.0.2.1"))
		if calls := h.took(); calls != "" {
			t.Errorf("what is carried by its name costs %s", calls)
		}
		git, git6, ntp := way("git.example.com:22", "192.0.2.1"), way("git.example.com:22", "2001:db8::1"), way("ntp.example.com/udp", "192.0.2.2")
		open("a", time.Minute, git, git6)
		check("172.18.0.2>192.0.2.1/tcp:22-22 fd00:18::2>2001:db8::1/tcp:22-22")
		if calls := h.took(); calls != "firewall delta" {
			t.Errorf("ways cost %s", calls)
		}
		time.Sleep(30 * time.Second)
		open("a", time.Minute, git)
		if calls := h.took(); calls != "" {
			t.Errorf("a way that stands costs %s", calls)
		}
		open("b", time.Minute, ntp, git6) // it has no address of IPv6
		check("172.18.0.2>192.0.2.1/tcp:22-22 172.18.0.3>192.0.2.2/udp:0-0 fd00:18::2>2001:db8::1/tcp:22-22")
		time.Sleep(32 * time.Second)
		synctest.Wait()
		check("172.18.0.2>192.0.2.1/tcp:22-22 172.18.0.3>192.0.2.2/udp:0-0")

		// What has begun by those that have expired goes on, until the list has no such name.
		h.set(namedSnapshot("git.example.com:22,example.com", ""))
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("172.18.0.2>192.0.2.1/tcp:22-22")
		last := h.flows[len(h.flows)-1].want
		if want := []conntrack.Granted{{Addr: netip.MustParseAddr("172.18.0.2"), To: git.To, Proto: model.TCP, First: 22, Last: 22},
			{Addr: netip.MustParseAddr("fd00:18::2"), To: git6.To, Proto: model.TCP, First: 22, Last: 22}}; !sameFlows(last.Granted, want) {
			t.Errorf("flows that go on: %v", last.Granted)
		}
		if err := h.r.Open(t.Context(), "b", []Way{ntp}, time.Minute); !errors.Is(err, model.ErrNotFound) || !strings.Contains(err.Error(), "does not have ntp.example.com/udp") {
			t.Errorf("a name that is not listed: %v", err)
		}
		if err := h.r.Open(t.Context(), "gone", []Way{git}, time.Minute); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("an endpoint that is not there: %v", err)
		}
		check("172.18.0.2>192.0.2.1/tcp:22-22")
		gone := namedSnapshot("git.example.com:22,example.com", "")
		gone.Endpoints = gone.Endpoints[1:]
		h.set(gone)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("")
		h.r.opened.mu.Lock()
		defer h.r.opened.mu.Unlock()
		if of := h.r.opened.of; of["a"] != nil || of["gone"] != nil {
			t.Errorf("ways of endpoints that are gone are remembered: %v", of)
		}
	})
}

func sameFlows(a, b []conntrack.Granted) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(g conntrack.Granted) bool { return !slices.Contains(b, g) })
}

// A way that could not be opened is an error, and stands when the packet filter has it.
func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		h.set(namedSnapshot("git.example.com:22", ""))
		h.run(t)
		<-h.r.Ready()
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return errors.New("firewall: no") })
		ways := []Way{way("git.example.com:22", "192.0.2.1")}
		for range 2 {
			if err := h.r.Open(t.Context(), "a", ways, time.Minute); err == nil || !strings.Contains(err.Error(), "open ways of endpoint a: firewall: no") {
				t.Errorf("%v", err)
			}
		}
		h.firewall.failWith(nil)
		if err := h.r.Open(t.Context(), "a", ways, time.Minute); err != nil {
			t.Error(err)
		}
		h.took()
		if err := h.r.Open(t.Context(), "a", ways, time.Minute); err != nil || h.took() != "" {
			t.Errorf("it does not stand: %v", err)
		}
	})
}

// An endpoint has so many grants at most; the oldest go.
func TestOpenIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		h.set(namedSnapshot("git.example.com:22", ""))
		h.run(t)
		<-h.r.Ready()
		to := func(i int) Way { return way("git.example.com:22", fmt.Sprintf("192.0.2.%d", i)) }
		for i := range 200 {
			if err := h.r.Open(t.Context(), "a", []Way{to(i), to(0)}, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		grants := h.policy().Grants
		if len(grants) != mostGrants || grants[0].To != to(0).To || grants[1].To != to(200-mostGrants+1).To {
			t.Errorf("%d grants: %v", len(grants), grants)
		}
		h.r.opened.mu.Lock()
		n := len(h.r.opened.of["a"])
		h.r.opened.mu.Unlock()
		if n > mostGrants+mostClosed {
			t.Errorf("%d ways are remembered", n)
		}
		var many []Way
		for i := range 100 {
			many = append(many, to(i))
		}
		if err := h.r.Open(t.Context(), "a", many, time.Hour); err != nil {
			t.Fatal(err)
		}
		h.took()
		if err := h.r.Open(t.Context(), "a", many, time.Hour); err != nil || h.took() != "" {
			t.Errorf("as many once more cost a pass, or %v", err)
		}
		if grants := h.policy().Grants; len(grants) != mostGrants || grants[0].To != to(0).To || grants[mostGrants-1].To != to(mostGrants-1).To {
			t.Errorf("of many the first count: %v", grants)
		}
	})
}

// Whoever answers for a name chooses how many addresses it has: a message of DNS takes thousands,
// and passes wait for who adds ways.
func TestWaysAreBoundedBeforeAPass(t *testing.T) {
	var o opened
	var many []Way
	for i := range 4000 {
		many = append(many, way("git.example.com:22", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()))
	}
	all, needed := o.add("a", many, time.Now().Add(time.Hour))
	if !needed || len(all) != mostGrants || len(o.of["a"]) != mostGrants {
		t.Fatalf("%d of %d ways are added, %d remembered", len(all), len(many), len(o.of["a"]))
	}
	if last := o.of["a"][mostGrants-1].Way; last != many[0] {
		t.Errorf("%v is closed last, want %v", last, many[0])
	}
}

// Ports of several names at one address are one grant.
func TestGrantsAreMerged(t *testing.T) {
	addr, to := netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("192.0.2.1")
	g := func(proto model.Proto, first, last uint16) firewall.Grant {
		return firewall.Grant{Bridge: "br0", Link: "veth", Addr: addr, To: to, Proto: proto, First: first, Last: last}
	}
	for _, c := range []struct{ have, want []firewall.Grant }{
		{nil, nil},
		{[]firewall.Grant{g(model.TCP, 22, 22), g(model.TCP, 20, 21), g(model.TCP, 22, 30)}, []firewall.Grant{g(model.TCP, 20, 30)}},
		{[]firewall.Grant{g(model.TCP, 22, 22), g(model.TCP, 24, 24), g(model.UDP, 23, 23)}, []firewall.Grant{g(model.TCP, 22, 22), g(model.TCP, 24, 24), g(model.UDP, 23, 23)}},
		{[]firewall.Grant{g(model.UDP, 53, 53), g(model.UDP, 0, 0), g(model.UDP, 1, 65535)}, []firewall.Grant{g(model.UDP, 0, 0)}},
		{[]firewall.Grant{g(model.TCP, 444, 65535), g(model.TCP, 1, 79), g(model.TCP, 65535, 65535)}, []firewall.Grant{g(model.TCP, 1, 79), g(model.TCP, 444, 65535)}},
	} {
		if got := merged(slices.Clone(c.have)); !slices.Equal(got, c.want) {
			t.Errorf("%v\nare %v", c.have, got)
		}
	}
}

// Names are rendered where the list that counts has them, and lead to the bridge's own addresses.
func TestNamesAreRendered(t *testing.T) {
	h := Render(namedSnapshot("example.com,10.0.0.0/8", ""), Options{})
	n := h.Firewall.Networks[0]
	if !n.Names || n.V4.Gateway != netip.MustParseAddr("172.18.0.1") || n.V6.Gateway != netip.MustParseAddr("fd00:18::1") {
		t.Errorf("%+v", n)
	}
	want := []firewall.Egress{{Bridge: "br0", Link: "br0", To: "10.0.0.0/8", Names: true, Carried: "80,443"}}
	if !slices.Equal(h.Firewall.Egress, want) {
		t.Errorf("%+v", h.Firewall.Egress)
	}
	h = Render(namedSnapshot("example.com", "git.example.com:22"), Options{})
	for _, e := range h.Firewall.Egress {
		carried := map[string]egress.Ports{"172.18.0.2": "80,443", "fd00:18::2": "80,443", "172.18.0.3": "22"}[e.Addr.String()]
		if e.To != egress.Nothing || e.Carried != carried || e.Names != (carried != "") {
			t.Errorf("%+v", e)
		}
	}
	if len(h.Firewall.Egress) != 4 || h.Firewall.Validate() != nil {
		t.Errorf("%+v: %v", h.Firewall.Egress, h.Firewall.Validate())
	}
	if h = Render(namedSnapshot("10.0.0.0/8", ""), Options{}); h.Firewall.Networks[0].Names || h.Firewall.Networks[0].V4.Gateway.IsValid() {
		t.Errorf("without names: %+v", h.Firewall.Networks[0])
	}
}
