package reconcile

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// drawNetwork is a network of any kind.
func drawNetwork(t *rapid.T, id int) model.Network {
	n := model.Network{
		ID: fmt.Sprintf("%032d", id), Bridge: fmt.Sprintf("br%d", id), Owned: rapid.Bool().Draw(t, "owned"), ICC: rapid.Bool().Draw(t, "icc"),
		Internal: rapid.IntRange(0, 4).Draw(t, "internal") == 0, MTU: rapid.SampledFrom([]int{0, 1400}).Draw(t, "mtu"),
	}
	modes := rapid.SampledFrom([]model.Mode{model.ModeNAT, model.ModeNATUnprotected, model.ModeRouted})
	n.V4 = model.Subnet{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", id)), Address: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.1/16", id)), Masquerade: rapid.Bool().Draw(t, "masquerade"), Mode: modes.Draw(t, "mode")}
	if rapid.Bool().Draw(t, "ipv6") {
		n.V6 = model.Subnet{Prefix: netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", id)), Mode: modes.Draw(t, "mode6")}
	}
	n.Spoof.Mode = rapid.SampledFrom([]string{"", model.SpoofRefuse, model.SpoofAudit, model.SpoofAllow}).Draw(t, "spoof")
	n.EgressMode = rapid.SampledFrom([]string{"", "", "audit"}).Draw(t, "egress mode")
	n.Egress = rapid.SampledFrom([]string{"", "", "none", "192.0.2.1:443", "192.0.2.1,*.example.com"}).Draw(t, "egress")
	n.ICCSet = rapid.SampledFrom([]string{"", "", "all", "none", "*>dns:53/udp,web>db:5432"}).Draw(t, "iccList")
	n.Policy, n.From = drawPolicy(t), drawLimits(t)
	if rapid.IntRange(0, 3).Draw(t, "trusts") == 0 {
		n.Trusted = []string{"eth0", "eth1"}
	}
	return n
}

// drawPolicy is a policy of published ports, most often none.
func drawPolicy(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", model.PublishOpen, model.PublishHost}).Draw(t, "policy")
}

// drawLimits is who reaches published ports, most often everybody.
func drawLimits(t *rapid.T) []model.Limit {
	switch rapid.IntRange(0, 11).Draw(t, "limits") {
	case 0:
		return []model.Limit{{From: []string{"192.0.2.0/24"}}}
	case 1:
		return []model.Limit{{Port: 8001, Via: []string{"eth1"}}}
	}
	return nil
}

// drawEndpoint is an endpoint of one of a few networks, which may be none that is recorded.
func drawEndpoint(t *rapid.T, id int) model.Endpoint {
	network := rapid.IntRange(0, 3).Draw(t, "network")
	e := model.Endpoint{
		ID: fmt.Sprintf("%02d%030d", id, id), NetworkID: fmt.Sprintf("%032d", network), MAC: model.MAC{2, 0, 0, 0, 0, byte(id)},
		Sandbox: rapid.SampledFrom([]string{"", "/run/netns/a", "/run/netns/b"}).Draw(t, "sandbox"),
	}
	if rapid.Bool().Draw(t, "v4") {
		e.V4 = netip.MustParsePrefix(fmt.Sprintf("10.%d.0.%d/16", network, 2+id))
	}
	if rapid.Bool().Draw(t, "v6") {
		e.V6 = netip.MustParsePrefix(fmt.Sprintf("fd00:%d::%d/64", network, 2+id))
	}
	e.From = drawLimits(t)
	e.EgressMode = rapid.SampledFrom([]string{"", "", "", "audit", "enforce"}).Draw(t, "egress mode")
	e.Egress = rapid.SampledFrom([]string{"", "", "", "all", "host:53", "example.com:22"}).Draw(t, "egress")
	e.Group = rapid.SampledFrom([]string{"", "", "none", "web", "other", "db,web"}).Draw(t, "group")
	hosts := rapid.SampledFrom([]string{"0.0.0.0", "::", "127.0.0.1", "192.0.2.1"})
	for range rapid.IntRange(0, 3).Draw(t, "ports") {
		to := e.V4.Addr()
		if rapid.Bool().Draw(t, "to6") {
			to = e.V6.Addr()
		}
		if !to.IsValid() {
			continue
		}
		e.Ports = append(e.Ports, model.PortBinding{
			Proto: rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, model.SCTP}).Draw(t, "proto"), Count: uint16(rapid.IntRange(1, 3).Draw(t, "count")),
			Host:      netip.AddrPortFrom(netip.MustParseAddr(hosts.Draw(t, "host")), uint16(8000+rapid.IntRange(0, 5).Draw(t, "hostPort"))),
			Container: netip.AddrPortFrom(to, uint16(80+rapid.IntRange(0, 2).Draw(t, "port"))),
		})
	}
	e.SpoofSet = model.Spoof{
		Mode:      rapid.SampledFrom([]string{"", "", model.SpoofRefuse, model.SpoofAudit, model.SpoofAllow}).Draw(t, "spoof"),
		Addresses: rapid.SampledFrom([]string{"", "10.0.0.0/8"}).Draw(t, "addresses"),
	}
	e.PolicySet = rapid.SampledFrom([]string{"", "", "", model.PublishHost, model.PublishOpen}).Draw(t, "policy")
	if rapid.IntRange(0, 3).Draw(t, "opens") == 0 {
		e.OpenV4 = []model.PortSpan{{Proto: model.TCP, First: 80, Count: 2}}
	}
	return e
}

// drawNext is a snapshot that differs in a few records from one before it, whose memory it shares
// otherwise, as the store's do.
func drawNext(t *rapid.T, before model.Snapshot) model.Snapshot {
	s := model.Snapshot{Networks: before.Networks, Endpoints: slices.Clone(before.Endpoints)}
	if rapid.IntRange(0, 3).Draw(t, "networks") == 0 {
		id := rapid.IntRange(0, 2).Draw(t, "id")
		s.Networks = slices.DeleteFunc(slices.Clone(s.Networks), func(n model.Network) bool { return n.ID == fmt.Sprintf("%032d", id) })
		if rapid.Bool().Draw(t, "comes") {
			s.Networks = append(s.Networks, drawNetwork(t, id))
			slices.SortFunc(s.Networks, func(a, b model.Network) int { return strings.Compare(a.ID, b.ID) })
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "changes") {
		e := drawEndpoint(t, rapid.IntRange(0, 9).Draw(t, "id"))
		if i := slices.IndexFunc(s.Endpoints, func(o *model.Endpoint) bool { return o.ID == e.ID }); i >= 0 && rapid.Bool().Draw(t, "publishes") {
			e = *s.Endpoints[i] // as before but for this
			e.Ports, e.OpenV4 = nil, []model.PortSpan{{Proto: model.UDP, First: 53, Count: 1}}
		}
		s.Endpoints = slices.DeleteFunc(s.Endpoints, func(o *model.Endpoint) bool { return o.ID == e.ID })
		if rapid.IntRange(0, 2).Draw(t, "comes") > 0 {
			s.Endpoints = append(s.Endpoints, &e)
			slices.SortFunc(s.Endpoints, compareEndpoints)
		}
	}
	return s
}

// However records come and go, what is rendered from the last host is what is rendered from
// nothing, and of a host that was rendered nothing changes any more.
func TestRendererIsRender(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := Options{NoIPv6: rapid.IntRange(0, 3).Draw(t, "noIPv6") == 0, DirectRouting: rapid.IntRange(0, 3).Draw(t, "direct") == 0,
			PublishByHost: rapid.IntRange(0, 3).Draw(t, "byHost") == 0,
			SpoofDefault:  rapid.SampledFrom([]string{"", model.SpoofRefuse, model.SpoofAudit, model.SpoofAllow}).Draw(t, "spoofDefault")}
		var r renderer
		var s model.Snapshot
		var before, copied Host
		for step := range rapid.IntRange(1, 12).Draw(t, "steps") {
			s = drawNext(t, s)
			records := copyOfRecords(s)
			o := base
			o.DefaultDrop.V4 = rapid.IntRange(0, 5).Draw(t, "drop") == 0
			o.KeepForwarding = rapid.IntRange(0, 9).Draw(t, "keep") == 0
			have := r.render(s, base, func(needed firewall.Families) Options {
				if want := needed4And6(s, o); needed != want {
					t.Errorf("needed: %+v, want %+v", needed, want)
				}
				return o
			})
			if want := Render(s, o); !reflect.DeepEqual(have, want) {
				t.Fatalf("step %d: have\n%+v\nwant\n%+v", step, have, want)
			}
			if !reflect.DeepEqual(records, copyOfRecords(s)) {
				t.Fatalf("step %d has written to a record", step)
			}
			if step > 0 && !reflect.DeepEqual(before, copied) {
				t.Fatalf("step %d has changed the host before it", step)
			}
			before, copied = have, copyOf(have)
			checkParts(t, before, Render(drawNext(t, s), o))
		}
	})
}

// needed4And6 is in which families endpoints need the host to forward, counted plainly.
func needed4And6(s model.Snapshot, o Options) (f firewall.Families) {
	for _, e := range s.Endpoints {
		for _, n := range s.Networks {
			if n.ID == e.NetworkID && !n.Internal {
				f.V4, f.V6 = f.V4 || e.V4.IsValid(), f.V6 || e.V6.IsValid() && !o.NoIPv6
			}
		}
	}
	return f
}

// copyOfRecords is the endpoints of a snapshot, and shares no memory with them.
func copyOfRecords(s model.Snapshot) (all []model.Endpoint) {
	for _, e := range s.Endpoints {
		all = append(all, e.Clone())
	}
	return all
}

// copyOf shares no list with a host.
func copyOf(h Host) Host {
	h.Links.Veths, h.Links.Bridges = slices.Clone(h.Links.Veths), slices.Clone(h.Links.Bridges)
	for i, v := range h.Links.Veths {
		own := *v
		h.Links.Veths[i] = &own
	}
	h.Firewall.Ports, h.Firewall.Openings = slices.Clone(h.Firewall.Ports), slices.Clone(h.Firewall.Openings)
	h.Firewall.Limits, h.Flows.Limits = slices.Clone(h.Firewall.Limits), slices.Clone(h.Flows.Limits)
	h.Flows.Bindings, h.Flows.Endpoints = slices.Clone(h.Flows.Bindings), slices.Clone(h.Flows.Endpoints)
	h.Ports.Bindings = slices.Clone(h.Ports.Bindings)
	h.Spoof.Ports, h.Spoof.Shares = slices.Clone(h.Spoof.Ports), slices.Clone(h.Spoof.Shares)
	h.Spoof.Networks, h.Spoof.Apart = slices.Clone(h.Spoof.Networks), slices.Clone(h.Spoof.Apart)
	return h
}

// checkParts tests what parts say of themselves against what can be seen of them.
func checkParts(t *rapid.T, a, b Host) {
	checkPart(t, a.Firewalld, b.Firewalld)
	checkPart(t, a.Firewall, b.Firewall)
	a.Spoof.Apart, b.Spoof.Apart = nil, nil // nothing is done because they change
	checkPart(t, a.Spoof, b.Spoof)
	checkPart(t, a.Links, b.Links)
	checkPart(t, a.Sysctls, b.Sysctls)
	checkPart(t, a.Flows, b.Flows)
	checkPart(t, a.Ports, b.Ports)
}

func checkPart[T Part[T]](t *rapid.T, a, b T) {
	if have, want := a.Same(b), reflect.DeepEqual(a, b); have != want {
		t.Errorf("%T: the same %t, want %t:\n%+v\n%+v", a, have, want, a, b)
	}
	if !a.Same(a) {
		t.Errorf("%T: %+v is not the same as itself", a, a)
	}
	subjects := a.Subjects()
	for subject := range subjects {
		if !a.Has(subject) {
			t.Errorf("%T: has not %q", a, subject)
		}
	}
	for subject := range b.Subjects() {
		if _, ok := subjects[subject]; a.Has(subject) != ok {
			t.Errorf("%T: has %q: %t", a, subject, a.Has(subject))
		}
	}
}

// A request for one endpoint leaves the lists of all others as they are, and their memory.
func TestRendererSharesWhatStays(t *testing.T) {
	s := crowd(20)
	var r renderer
	options := func(firewall.Families) Options { return Options{} }
	before := r.render(s, Options{}, options)
	next := model.Snapshot{Networks: s.Networks, Endpoints: slices.Clone(s.Endpoints)}
	left := *s.Endpoints[7]
	left.Sandbox = ""
	next.Endpoints[7] = &left
	after := r.render(next, Options{}, options)
	if &before.Firewall.Ports[0] != &after.Firewall.Ports[0] || &before.Flows.Bindings[0] != &after.Flows.Bindings[0] || &before.Flows.Endpoints[0] != &after.Flows.Endpoints[0] {
		t.Error("lists in which nothing changed are made anew")
	}
	if before.Links.Same(after.Links) || before.Ports.Same(after.Ports) {
		t.Error("the pair and the owner of the ports are as before")
	}
}

// A container with two endpoints whose senders are checked publishes a port: nothing that it
// shares has changed, and the host is not rendered as a whole.
func TestRendererSharesWhatPublishingLeaves(t *testing.T) {
	s := crowd(20)
	s.Endpoints[8].Sandbox = s.Endpoints[7].Sandbox
	var r renderer
	options := func(firewall.Families) Options { return Options{SpoofDefault: model.SpoofRefuse} }
	base := Options{SpoofDefault: model.SpoofRefuse}
	before := r.render(s, base, options)
	if len(before.Spoof.Shares) != 2 {
		t.Fatalf("%d shares", len(before.Spoof.Shares))
	}
	change := func(fn func(e *model.Endpoint)) Host {
		next := model.Snapshot{Networks: s.Networks, Endpoints: slices.Clone(s.Endpoints)}
		changed := *s.Endpoints[7]
		fn(&changed)
		next.Endpoints[7] = &changed
		s = next
		have := r.render(s, base, options)
		if want := Render(s, base); !reflect.DeepEqual(have, want) {
			t.Fatalf("have\n%+v\nwant\n%+v", have, want)
		}
		return have
	}
	ports := s.Endpoints[7].Ports
	for _, of := range [][]model.PortBinding{nil, ports} {
		after := change(func(e *model.Endpoint) { e.Ports = of })
		if before.Ports.Same(after.Ports) {
			t.Error("the ports are as before")
		}
		if &before.Flows.Endpoints[0] != &after.Flows.Endpoints[0] || &before.Spoof.Shares[0] != &after.Spoof.Shares[0] || &before.Spoof.Ports[0] != &after.Spoof.Ports[0] {
			t.Errorf("with %d ports lists in which nothing changed are made anew", len(of))
		}
		before = after
	}
	for name, fn := range map[string]func(e *model.Endpoint){
		"address": func(e *model.Endpoint) { e.V4 = netip.MustParsePrefix("10.0.9.9/16") },
		"MAC":     func(e *model.Endpoint) { e.MAC = model.MAC{2, 9} },
		"option":  func(e *model.Endpoint) { e.SpoofSet.Mode = model.SpoofAllow },
		"sandbox": func(e *model.Endpoint) { e.Sandbox = "" },
	} {
		was := *s.Endpoints[7]
		if before.Spoof.Same(change(fn).Spoof) {
			t.Errorf("another %s changes nothing", name)
		}
		change(func(e *model.Endpoint) { *e = was })
	}
}
