package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// The kernel lists what a query asks for, and no more; and what queries find of a filter is what
// reading all flows finds.
func TestQueries(t *testing.T) { inBoth(t, testQueries) }

func testQueries(t *testing.T, f testFamily) {
	h := nettest.New(t)
	h.Address("lo", f.say("192.0.2.1/32"))
	addr := func(text string) string { return netip.MustParseAddrPort(f.say(text + ":1")).Addr().String() }
	client, host, a, b := addr("192.0.2.9"), addr("192.0.2.1"), addr("172.18.0.2"), addr("172.18.0.7")
	for i, from := range []string{client, a} {
		for j, to := range []string{host, a, b} {
			for k, proto := range []string{"udp", "tcp"} {
				replyPort := "53"
				if to == host {
					replyPort = strconv.Itoa(8050 + j)
				}
				args := []string{"-I", "-s", from, "-d", host, "--reply-src", to, "--reply-dst", from, "-t", "600", "-p", proto,
					"--sport", strconv.Itoa(4000 + 100*i + 10*j + k), "--dport", strconv.Itoa(8050 + j), "--reply-port-src", replyPort, "--reply-port-dst", strconv.Itoa(4000 + 100*i + 10*j + k)}
				if proto == "tcp" {
					args = append(args, "--state", "SYN_SENT")
				}
				h.Run("conntrack", args...)
			}
		}
	}
	all := f.tracked(t)
	if len(all) != 12 {
		t.Fatalf("%d flows", len(all))
	}
	if n, err := tracked(nil); err != nil || n != 12 {
		t.Errorf("%d flows are counted: %v", n, err)
	}
	in := func(text string) netip.Addr { return netip.MustParseAddr(text) }
	for what, c := range map[string]struct {
		q     query
		holds func(flow) bool
		many  int
	}{
		"all":            {query{}, func(flow) bool { return true }, 12},
		"from":           {query{from: in(a)}, func(l flow) bool { return l.from.Addr() == in(a) }, 6},
		"replies":        {query{reply: in(b)}, func(l flow) bool { return l.answers.Addr() == in(b) }, 4},
		"protocol":       {query{proto: model.TCP}, func(l flow) bool { return l.proto == model.TCP }, 6},
		"port":           {query{proto: model.UDP, port: 8051}, func(l flow) bool { return l.proto == model.UDP && l.asked.Port() == 8051 }, 2},
		"replies' port":  {query{proto: model.UDP, reply: in(a), replyPort: 53}, func(l flow) bool { return l.proto == model.UDP && l.answers == netip.AddrPortFrom(in(a), 53) }, 2},
		"another's port": {query{proto: model.UDP, reply: in(a), replyPort: 54}, func(flow) bool { return false }, 0},
	} {
		if f.Family == model.IPv6 && (c.q.from.IsValid() || c.q.reply.IsValid()) {
			continue // is not asked for
		}
		have, err := list(t.Context(), nil, f.Family, c.q, func(l flow) bool {
			if !c.holds(l) {
				t.Errorf("%s: the kernel lists %s", what, l)
			}
			return true
		})
		if err != nil || len(have) != c.many {
			t.Errorf("%s: %d flows, want %d: %v", what, len(have), c.many, err)
		}
	}
	port := func(proto model.Proto, host uint16, to string, count uint16) model.PortBinding {
		unspecified := netip.IPv4Unspecified()
		if f.Family == model.IPv6 {
			unspecified = netip.IPv6Unspecified()
		}
		return model.PortBinding{Proto: proto, Host: netip.AddrPortFrom(unspecified, host), Container: netip.AddrPortFrom(in(to), 53), Count: count}
	}
	for what, m := range map[string]filter{
		"left":           {left: map[netip.Addr]bool{in(a): true}},
		"two left":       {left: map[netip.Addr]bool{in(a): true, in(b): true}},
		"UDP came":       {came: []model.PortBinding{port(model.UDP, 8051, b, 1)}},
		"a range":        {came: []model.PortBinding{port(model.UDP, 8050, a, 3)}},
		"TCP came":       {came: []model.PortBinding{port(model.TCP, 8050, a, 1)}},
		"UDP gone":       {gone: []model.PortBinding{port(model.UDP, 8052, b, 1)}},
		"elsewhere gone": {gone: []model.PortBinding{port(model.UDP, 9999, a, 1)}},
		"a range gone":   {gone: []model.PortBinding{port(model.UDP, 8050, a, 2)}},
		"all of it":      {left: map[netip.Addr]bool{in(b): true}, came: []model.PortBinding{port(model.TCP, 8050, a, 1)}, gone: []model.PortBinding{port(model.UDP, 8052, b, 1)}},
	} {
		m.local = map[netip.Addr]bool{in(host): true}
		some := m.queries(manyFlows)
		if all := slices.Contains(some, query{}); all != (f.Family == model.IPv6 && len(m.left) > 0) {
			t.Errorf("%s: all flows are listed: %t", what, all)
		}
		found, err := listAll(t.Context(), nil, f.Family, some, m.stale)
		if err != nil {
			t.Fatal(err)
		}
		if want := slices.DeleteFunc(slices.Clone(all), func(l flow) bool { return !m.stale(l) }); len(want) == 0 || !slices.Equal(toldAll(found), toldAll(want)) {
			t.Errorf("%s: have %q, want %q", what, toldAll(found), toldAll(want))
		}
	}
	if few := (&filter{left: map[netip.Addr]bool{in(a): true}}).queries(manyFlows - 1); !slices.Equal(few, []query{{}}) {
		t.Errorf("few flows are looked for by %v", few)
	}
	past := filter{subnets: []Subnet{{}}, left: map[netip.Addr]bool{in(a): true}}
	if q := past.queries(manyFlows); !slices.Equal(q, []query{{}}) {
		t.Errorf("flows past the rules are looked for by %v", q)
	}
	wide := filter{}
	for n := range uint16(mostQueries + 1) {
		wide.came = append(wide.came, port(model.UDP, 100+n, a, 1))
	}
	kept := filter{apart: []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}}
	if q := kept.queries(manyFlows); !slices.Equal(q, []query{{}}) {
		t.Errorf("containers that are kept apart now: %v, want all", q)
	}
	if q := wide.queries(manyFlows); !slices.Equal(q, []query{{}}) {
		t.Errorf("many ports are looked for by %v", q)
	}
}

// toldAll lists flows in words, sorted.
func toldAll(flows []flow) (all []string) {
	for _, l := range flows {
		all = append(all, fmt.Sprint(l))
	}
	slices.Sort(all)
	return all
}

// BenchmarkManyFlows looks for the flows of a container that left, among many others.
func BenchmarkManyFlows(b *testing.B) {
	for _, flows := range []int{100, 50_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			h := nettest.New(b)
			h.Run("iptables", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW")
			h.Address("lo", "192.0.2.1/32")
			for n := range flows {
				c, err := h.Dial("udp4", fmt.Sprintf("127.0.%d.%d:%d", 1+n/60000, 1+n%250, 1024+n%60000), 0)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = c.Write([]byte("x"))
				c.Close()
			}
			have := Set{Endpoints: []Endpoint{{ID: "1", V4: netip.MustParseAddr("172.18.0.2")}}}
			b.ResetTimer()
			for range b.N {
				if p, err := new(Applier).Plan(b.Context(), &have, Set{}); err != nil || len(p) > 0 {
					b.Fatal(p, err)
				}
			}
		})
	}
}
