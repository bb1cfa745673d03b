package names

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// Upstream asks resolvers. Its Exchange sends a query and returns the whole answer to it,
// which has not been truncated. It is called by any goroutine.
type Upstream interface {
	Exchange(ctx context.Context, query []byte) ([]byte, error)
}

// Resolver knows what names lead to. A server of DNS and what connects to names should have
// the same one, so that they say the same. Its methods may be called from any goroutine.
type Resolver struct {
	upstream Upstream
	forbid   func(netip.Addr) bool
	cache    cache
	flights  flights
	now      func() time.Time
}

// NewResolver returns a Resolver with an empty cache. forbid tells addresses that no name may
// lead to besides those of hosts.Never: those of this host and of its bridges; it is asked
// whenever an address is used. It must not block. nil: there are none.
func NewResolver(upstream Upstream, forbid func(netip.Addr) bool) *Resolver {
	return &Resolver{upstream: upstream, forbid: forbid, now: time.Now}
}

func (r *Resolver) refused(a netip.Addr) bool {
	return hosts.Never(a) || r.forbid != nil && r.forbid(a)
}

// Forbidden is the error of a name that leads only to addresses that none may lead to.
type Forbidden struct {
	Name    string
	Address netip.Addr // one of them
}

func (f *Forbidden) Error() string {
	return fmt.Sprintf("look up %s: its address %s is not one of another host", f.Name, f.Address)
}

// Lookup is the addresses of a name, as hosts.Name or hosts.Question returns it: never an
// empty list, and none that is forbidden.
//
// Errors: *Forbidden; that there are none; what the resolvers say.
func (r *Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	type half struct {
		found result
		err   error
	}
	six := make(chan half, 1)
	go func() {
		found, err := r.resolve(ctx, key{name: name, kind: dnsmessage.TypeAAAA})
		six <- half{found, err}
	}()
	four, err4 := r.resolve(ctx, key{name: name, kind: dnsmessage.TypeA})
	h := <-six
	_, all, dropped := h.found.usable(r.refused)
	_, more, moreDropped := four.usable(r.refused)
	all, dropped = append(all, more...), append(dropped, moreDropped...)
	switch {
	case len(all) > 0:
		return all, nil
	case len(dropped) > 0:
		return nil, &Forbidden{name, dropped[0]}
	case err4 != nil || h.err != nil:
		return nil, fmt.Errorf("look up %s: %w", name, errors.Join(err4, h.err))
	case four.code != dnsmessage.RCodeSuccess:
		return nil, fmt.Errorf("look up %s: the resolver answers %s", name, codeName(four.code))
	}
	return nil, fmt.Errorf("look up %s: it has no addresses", name)
}

func codeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeNameError:
		return "that it does not exist (NXDOMAIN)"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return fmt.Sprintf("code %d", c)
}

// resolve answers from the cache, or asks, together with all who want the same.
func (r *Resolver) resolve(ctx context.Context, k key) (result, error) {
	if found, ok := r.cache.get(k, r.now()); ok {
		return found, nil
	}
	found, err := r.flights.join(ctx, k, func(ctx context.Context) (result, error) { return r.ask(ctx, k) })
	if err != nil {
		return result{}, fmt.Errorf("ask for %s %s: %w", k.name, typeName(k.kind), err)
	}
	return found, nil
}

// ask asks, and keeps the answer.
func (r *Resolver) ask(ctx context.Context, k key) (result, error) {
	q, err := k.query()
	if err != nil {
		return result{}, err
	}
	m, err := r.upstream.Exchange(ctx, q)
	if err != nil {
		return result{}, err
	}
	if !matches(q, m) {
		return result{}, errors.New("the answer is to another question")
	}
	found, err := k.parse(m)
	if err != nil {
		return result{}, fmt.Errorf("read the answer: %w", err)
	}
	found.at = r.now()
	r.cache.put(k, found)
	return found, nil
}

// query makes the question, with EDNS so that the answer has room, and without anything that
// is the client's own.
func (k key) query() ([]byte, error) {
	name, err := dnsmessage.NewName(k.name + ".")
	if err != nil {
		return nil, err
	}
	var id [2]byte
	_, _ = rand.Read(id[:]) // it never fails (crypto/rand)
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(maxUDP, dnsmessage.RCodeSuccess, k.dnssec); err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		// AD asks whether the answer was validated (RFC 6840, 5.7).
		Header:      dnsmessage.Header{ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: true, CheckingDisabled: k.unchecked, AuthenticData: true},
		Questions:   []dnsmessage.Question{{Name: name, Type: k.kind, Class: dnsmessage.ClassINET}},
		Additionals: []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}},
	}
	return m.Pack()
}

// matches says whether a message is an answer to a query: its identifier and its question are
// the same (RFC 5452, 9.1). The case of letters is the server's to keep, not all do.
func matches(query, answer []byte) bool {
	var q, a dnsmessage.Parser
	asked, err1 := q.Start(query)
	got, err2 := a.Start(answer)
	if err1 != nil || err2 != nil || !got.Response || got.ID != asked.ID || got.OpCode != asked.OpCode {
		return false
	}
	want, err1 := q.Question()
	has, err2 := a.Question()
	if err1 != nil || err2 != nil || !sameName(has.Name, want.Name) || has.Type != want.Type || has.Class != want.Class {
		return false
	}
	_, err := a.Question()
	return err == dnsmessage.ErrSectionDone
}
