package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/shell"
	"github.com/mybr/mybr/internal/view"
)

// RelaysOf are the ports that mybr's process holds: what NAT doesn't take away before arrives
// there, and is carried on. It takes nothing from containers of internal networks, and from outside
// what mybr.publish.from and mybr.publish.interface of the port say.
func RelaysOf(v view.View) (all []Relay) {
	var blocked []string
	for _, n := range v.Networks {
		if n.Internal {
			blocked = append(blocked, n.Bridge)
		}
	}
	for _, p := range v.Ports {
		if !p.Host.IsValid() {
			continue
		}
		for i := range p.Count {
			at := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()+i) }
			r := Relay{Proto: p.Proto, Listen: at(p.Host), To: at(p.Container), Process: "mybr", Blocked: blocked, From: p.From, Via: p.Interface, Network: p.Bridge, Closed: p.Carried == view.Closed, Endpoint: p.Endpoint}
			r.Clients = clientsOf(v, p.From)
			all = append(all, r)
		}
	}
	return all
}

// closed is the port that a packet is sent to, if a process holds it that can carry nothing of it.
func (w *World) closed(s *Space, p *Packet) *Relay {
	i := slices.IndexFunc(w.Relays, func(r Relay) bool {
		return r.Closed && s == w.Spaces[0] && r.Proto == p.Proto && r.Listen.Port() == p.Dport &&
			(r.Listen.Addr() == p.Dst || r.Listen.Addr().IsUnspecified() && r.Listen.Addr().Is6() == p.six())
	})
	if i < 0 {
		return nil
	}
	return &w.Relays[i]
}

// uncarried is for what is sent to such a port. The network's option would open the ports of other
// containers past the host's firewall, too.
func uncarried(r *Relay, p *Packet) outcome {
	o := dead("%s publishes %s port %d with mybr.publish.policy=host, and can't carry %s", r.Process, p.Proto, p.Dport, p.Proto)
	o.mend = []string{shell.Command("mybr", "endpoint", "set", r.Endpoint, "mybr.publish.policy=open")}
	return o
}

// Admits reports whether a client is among those of view.Port.From; none is of a range of which not
// all ports have the same.
func Admits(v view.View, from string, client netip.Addr) bool {
	return from == "" || among(clientsOf(v, from), client)
}

func among(clients []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(clients, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

// clientsOf are the prefixes of view.Port.From, those of lists included; none: nobody's are known.
func clientsOf(v view.View, from string) (all []netip.Prefix) {
	for _, word := range strings.Split(from, ",") {
		name, listed := strings.CutPrefix(word, "@")
		if i := slices.IndexFunc(v.Lists, func(l view.List) bool { return l.Name == name }); listed && i >= 0 {
			all = append(all, v.Lists[i].Prefixes...)
		} else if p, err := netip.ParsePrefix(word); err == nil { // "none" and ByPort are none
			all = append(all, p)
		}
	}
	return all
}

// elsewhere says where a port is published that a packet does not find.
func (w *World) elsewhere(s *Space, p *Packet) string {
	if s != w.Spaces[0] {
		return ""
	}
	var at []string
	process := ""
	covers := func(a netip.Addr) bool { return a == p.Dst || a.IsUnspecified() && a.Is6() == p.six() }
	for _, r := range w.Relays {
		if r.Proto == p.Proto && r.Listen.Port() == p.Dport && !slices.Contains(at, r.Listen.Addr().String()) {
			at, process = append(at, r.Listen.Addr().String()), r.Process
		}
	}
	if slices.ContainsFunc(w.Relays, func(r Relay) bool { return r.Proto == p.Proto && r.Listen.Port() == p.Dport && covers(r.Listen.Addr()) }) {
		return fmt.Sprintf("; %s publishes it there, and does not hold it: it may not run", process)
	}
	if len(at) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s publishes it at %s alone", process, strings.Join(at, " and "))
}
