package hostport

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// targets lists the wanted targets of a request, IPv4 first.
func targets(req model.PortRequest) []model.Target {
	all := make([]model.Target, 0, 2)
	for _, f := range model.Families() {
		if t := *req.Target(f); t.Wanted() {
			all = append(all, t)
		}
	}
	return all
}

// wanted is how many targets are.
func wanted(req model.PortRequest) (n int) {
	for _, t := range [...]model.Target{req.V4, req.V6} {
		if t.Wanted() {
			n++
		}
	}
	return n
}

// unmapped is the request with an IPv4 host address as such.
func unmapped(req model.PortRequest) model.PortRequest {
	req.V4.Host = req.V4.Host.Unmap()
	return req
}

// check refuses what could never be published. The container's address may be of the other
// family.
func check(req model.PortRequest) error {
	if wanted(req) == 0 {
		return fmt.Errorf("publish a %s port: %w: no host address", req.Proto, model.ErrInvalid)
	}
	for _, f := range model.Families() {
		t := *req.Target(f)
		c := t.Container
		switch {
		case !t.Wanted():
		case req.Proto != model.TCP && req.Proto != model.UDP && req.Proto != model.SCTP:
			return fmt.Errorf("publish %s port %d: %w: only tcp, udp and sctp have ports", req.Proto, c.Port(), model.ErrInvalid)
		case !isContainer(c):
			return fmt.Errorf("publish %s of a container: %w container address", c, model.ErrInvalid)
		case req.Last < req.First || req.First == 0 && req.Last != 0:
			return fmt.Errorf("publish %s/%s: %w host ports %d-%d", c, req.Proto, model.ErrInvalid, req.First, req.Last)
		case t.Host.IsMulticast(), model.FamilyOf(t.Host.Unmap()) != f:
			return fmt.Errorf("publish %s/%s: %w host address %s", c, req.Proto, model.ErrInvalid, t.Host)
		}
	}
	return nil
}

// isContainer reports whether ap can be the port of a container: connecting to an
// unspecified or loopback address would reach the host itself.
func isContainer(ap netip.AddrPort) bool {
	a := ap.Addr().Unmap()
	return ap.IsValid() && ap.Port() != 0 && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

// byDeadline orders requests by the last port that would do, then the narrower
// first; ephemeral ones come last, in the order of the container's ports, so that
// they get consecutive numbers. Of requests that are equal so far, those for both
// families come first, so that they find the numbers that are held in both. If each then
// takes the lowest port that is free, as many are served as can be (matching of intervals
// to points, Glover 1967).
func byDeadline(a, b model.PortRequest) int {
	return cmp.Or(
		cmp.Compare(deadline(a), deadline(b)),
		-cmp.Compare(a.First, b.First),
		-cmp.Compare(wanted(a), wanted(b)),
		cmp.Compare(a.Proto, b.Proto),
		a.V4.Compare(b.V4),
		a.V6.Compare(b.V6),
	)
}

// deadline is the last port that would do.
func deadline(req model.PortRequest) int {
	if req.First == 0 {
		return 1 << 16
	}
	return int(req.Last)
}

// fixed reports whether one number only would do.
func fixed(req model.PortRequest) bool { return req.First != 0 && req.First == req.Last }

// bothEverywhere reports whether the request names no address of the host, so that it
// can do with IPv4 alone.
func bothEverywhere(req model.PortRequest) bool {
	return req.V4.Host == netip.IPv4Unspecified() && req.V6.Host == netip.IPv6Unspecified()
}
