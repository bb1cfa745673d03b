package carry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// How a server with several addresses is connected to (RFC 8305).
const (
	stagger = 250 * time.Millisecond // "Connection Attempt Delay", section 5
	most    = 16                     // addresses that are tried
)

// Connect resolves a name and connects to one of its addresses, the families taking turns.
//
// Errors: what the resolver says; of each address why it can't be connected to.
func Connect(ctx context.Context, resolver Resolver, dialer *net.Dialer, name string, port uint16) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience) // of which half is for the addresses
	defer cancel()
	addresses, err := resolver.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	server, err := race(ctx, dialer, order(addresses), port)
	if err != nil {
		return nil, fmt.Errorf("connect to %s port %d: %w", name, port, err)
	}
	return server, nil
}

// order has the families take turns, IPv6 first (RFC 8305, 4), and leaves out what no name may
// lead to, whoever has resolved it.
func order(addresses []netip.Addr) (all []netip.Addr) {
	var six, four []netip.Addr
	for _, a := range addresses {
		switch {
		case hosts.Never(a):
		case a.Unmap().Is4():
			four = append(four, a)
		default:
			six = append(six, a)
		}
	}
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			all = append(all, six[i])
		}
		if i < len(four) {
			all = append(all, four[i])
		}
	}
	return all[:min(len(all), most)]
}

// race connects to each address, the next one when the one before has failed or a while has
// passed, and returns the first connection; others that come are closed.
func race(ctx context.Context, d *net.Dialer, addresses []netip.Addr, port uint16) (*net.TCPConn, error) {
	if len(addresses) == 0 {
		return nil, errors.New("it has no address that may be connected to")
	}
	type result struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	dial := func(a netip.Addr) {
		conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(a, port).String())
		select {
		case results <- result{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
		}
	}
	var failed []error
	next := time.NewTimer(0)
	defer next.Stop()
	tried, under := 0, 0
	for {
		select {
		case <-next.C:
			if tried < len(addresses) {
				go dial(addresses[tried])
				tried++
				under++
				next.Reset(stagger)
			}
		case r := <-results:
			under--
			if c, ok := r.conn.(*net.TCPConn); ok && r.err == nil {
				return c, nil
			}
			failed = append(failed, r.err)
			if tried < len(addresses) {
				next.Reset(0)
			} else if under == 0 {
				return nil, errors.Join(failed...)
			}
		case <-ctx.Done():
			return nil, errors.Join(append(failed, ctx.Err())...)
		}
	}
}
