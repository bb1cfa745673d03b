package integration

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/nettest"
)

// soon bounds a request that ought not to be answered: long enough for a loaded
// machine to answer it, if it wrongly would.
const soon = "--timeout=700ms"

// answered fails the test unless the request was answered.
func answered(t *testing.T, what string, o world.Outcome) {
	t.Helper()
	if o.Code != report.Answered {
		t.Errorf("%s: %v, want an answer", what, o)
	}
}

// unanswered fails the test if the request was answered, or did not fare in any of
// the ways a network has to say no.
func unanswered(t *testing.T, what string, o world.Outcome) {
	t.Helper()
	if !slices.Contains([]int{report.Refused, report.TimedOut, report.Unreachable}, o.Code) {
		t.Errorf("%s: %v, want no answer", what, o)
	}
}

// seenAs fails the test unless the server answered and saw the client at addr.
func seenAs(t *testing.T, what string, o world.Outcome, addr string) {
	t.Helper()
	answered(t, what, o)
	if got := o.Answer.Client.Addr().String(); o.Code == report.Answered && got != addr {
		t.Errorf("%s: the server saw the client at %s, want %s", what, got, addr)
	}
}

// proxied tells of the one thing that Docker's own driver can't do here: a UDP request
// from a container of Docker's to a port of Docker's by the host's address goes through
// docker-proxy, which answers from the address that the route to the client prefers,
// not from the one that was asked.
func proxied(network string, drivers ...string) bool {
	return network == "udp" && !slices.Contains(drivers, "mybr")
}

// pingBoth pings both ways between two containers.
func pingBoth(t *testing.T, a, b *world.Place) {
	t.Helper()
	answered(t, a.Name+" pings "+b.Name, a.Ping(ipv4(t, b, "eth0")))
	answered(t, b.Name+" pings "+a.Name, b.Ping(ipv4(t, a, "eth0")))
}

// ipv4 is the only IPv4 address of a link.
func ipv4(t *testing.T, p *world.Place, link string) string {
	t.Helper()
	return ipv4Prefix(t, p, link).Addr().String()
}

func ipv4Prefix(t *testing.T, p *world.Place, link string) netip.Prefix {
	t.Helper()
	l, ok := p.Link(link)
	var v4 []netip.Prefix
	for _, a := range l.Addrs {
		if a.Addr().Is4() {
			v4 = append(v4, a)
		}
	}
	if !ok || len(v4) != 1 {
		t.Fatalf("%s: IPv4 addresses of %s: %v, want one", p.Name, link, v4)
	}
	return v4[0]
}

// hostEnd is the link on the host at the other end of a container's link.
func hostEnd(t *testing.T, w *world.World, p *world.Place, link string) report.Link {
	t.Helper()
	inside, ok := p.Link(link)
	if !ok {
		t.Fatalf("%s: no %s", p.Name, link)
	}
	for _, l := range w.Host.Links() {
		if l.Index == inside.Peer && l.Peer == inside.Index {
			return l
		}
	}
	t.Fatalf("%s: %s has no other end on the host", p.Name, link)
	return report.Link{}
}

// ports is the links that are ports of a bridge.
func ports(t *testing.T, w *world.World, bridge string) (found []report.Link) {
	t.Helper()
	br := mustLink(t, w.Host, bridge)
	for _, l := range w.Host.Links() {
		if l.Master == br.Index {
			found = append(found, l)
		}
	}
	return found
}

func mustLink(t *testing.T, p *world.Place, name string) report.Link {
	t.Helper()
	l, ok := p.Link(name)
	if !ok {
		t.Fatalf("%s: no link %s among %v", p.Name, name, names(p))
	}
	return l
}

func names(p *world.Place) (found []string) {
	for _, l := range p.Links() {
		found = append(found, l.Name)
	}
	slices.Sort(found)
	return found
}

func hasRoute(p *world.Place, want report.Route) bool {
	return slices.Contains(p.Routes(), want)
}

// rules is iptables-save without counters and comments.
func rules(w *world.World) []string {
	var out []string
	for line := range strings.Lines(w.Host.Run("iptables-save")) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "#") {
			line, _, _ = strings.Cut(line, " [")
			out = append(out, line)
		}
	}
	return out
}

// unpublish removes the rules of all published ports of IPv4, as others may, and gives what
// mybr says when it puts one back: a regular expression, from the beginning of a line on.
func unpublish(w *world.World) (says func(port string) string) {
	if w.Backend() == world.NFTables {
		w.Host.Run("nft", "flush", "map", "ip", "mybr", "published")
		return func(port string) string { return `nft: add element ip mybr published \{ \w+ \. ` + port + ` : ` }
	}
	w.Host.Run("iptables", "-t", "nat", "-F", "MYBR-PORTS")
	return func(port string) string { return `iptables nat: -A MYBR-PORTS .*--dport ` + port + ` ` }
}

// either is what there is of one of two texts, one for each backend of the firewall.
func either(w *world.World, iptables, nftables string) string {
	if w.Backend() == "nftables" {
		return nftables
	}
	return iptables
}

// together calls all at once and waits for all. They report with t.Errorf alone.
func together(calls ...func()) {
	var wg sync.WaitGroup
	for _, call := range calls {
		wg.Go(call)
	}
	wg.Wait()
}

// linkLocal turns IPv6 on at a container's eth0, which Docker turns off, and gives
// the address that the kernel then makes.
func linkLocal(t *testing.T, p *world.Place) string {
	t.Helper()
	p.Sysctl("net/ipv6/conf/eth0/accept_dad", "0") // no wait for duplicate address detection
	p.Sysctl("net/ipv6/conf/eth0/disable_ipv6", "0")
	nettest.Eventually(t, 10*time.Second, func() error { // what is not looked for becomes usable a moment later, too
		if left := p.Run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "tentative"); left != "" {
			return errors.New(left)
		}
		return nil
	})
	for _, a := range mustLink(t, p, "eth0").Addrs {
		if a.Addr().IsLinkLocalUnicast() && a.Addr().Is6() && a.Bits() == 64 {
			return a.Addr().String() + "%eth0"
		}
	}
	t.Fatalf("%s: eth0 has no link-local IPv6 address: %v", p.Name, mustLink(t, p, "eth0").Addrs)
	return ""
}
