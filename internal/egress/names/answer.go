package names

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// answer is what a client's message is answered with; nil: nothing.
func (s *Server) answer(ctx context.Context, client netip.Addr, message []byte, stream bool) []byte {
	q, code, ok := read(message)
	if !ok {
		s.counts.malformed.Add(1)
		return nil
	}
	r := reply{code: code}
	if code == dnsmessage.RCodeSuccess {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		r = s.reply(ctx, client, q)
	}
	m, err := q.pack(r, stream)
	if err == nil {
		s.counts.note(r.code)
		return m
	}
	s.counts.note(dnsmessage.RCodeServerFailure)
	// An answer that can't be written is one that could not be had.
	s.failed(q.question.Name.String(), fmt.Errorf("write an answer: %w", err))
	if m, err = q.pack(reply{code: dnsmessage.RCodeServerFailure}, stream); err != nil {
		return nil
	}
	return m
}

func (s *Server) failed(name string, err error) {
	if s.cfg.Failed != nil {
		s.cfg.Failed(name, err)
	}
}

func (s *Server) refuse(client netip.Addr, q query, name, reason string) reply {
	if s.cfg.Refused != nil {
		s.cfg.Refused(Refused{Client: client, Name: name, Type: typeName(q.question.Type), Reason: reason}, hosts.Refuse)
	}
	return reply{code: dnsmessage.RCodeRefused, why: reason}
}

func (s *Server) reply(ctx context.Context, client netip.Addr, q query) reply {
	text, kind := q.question.Name.String(), q.question.Type
	switch {
	case kind == dnsmessage.TypeOPT:
		return reply{code: dnsmessage.RCodeFormatError}
	case q.question.Class != dnsmessage.ClassINET:
		return s.refuse(client, q, text, "only the class IN is served")
	case kind == 0 || kind >= firstMeta && kind <= lastMeta:
		return s.refuse(client, q, text, "a query of the type "+typeName(kind)+" is not served")
	case kind == typeMD || kind == typeMF || kind >= typeMB && kind <= typeNULL || kind == typeMINFO:
		return s.refuse(client, q, text, "records of the type "+typeName(kind)+" are obsolete or have no form") // RFC 1035, 3.3; RFC 3597, 4
	}
	name, err := hosts.Question(text)
	if err != nil {
		return s.refuse(client, q, text, err.Error())
	}
	if kind == dnsmessage.TypePTR && (strings.HasSuffix(name, ".in-addr.arpa") || strings.HasSuffix(name, ".ip6.arpa")) {
		return s.reverse(client, q, name)
	}
	verdict := s.cfg.Policy.Allowed(client, name, 0)
	switch verdict {
	case hosts.Allow:
	case hosts.Audit:
		if s.cfg.Refused != nil {
			s.cfg.Refused(Refused{Client: client, Name: name, Type: typeName(kind)}, hosts.Audit)
		}
	default:
		return s.refuse(client, q, name, "the name is not on the list of hosts that may be reached")
	}
	if kind == typeHTTPS || kind == typeSVCB {
		// There are none: what they have is other addresses, which nobody would be told of,
		// and keys to encrypt the name of the server with, which is refused then.
		return reply{}
	}
	return s.listed(ctx, client, q, name, verdict)
}

// listed answers for a name that may be reached.
func (s *Server) listed(ctx context.Context, client netip.Addr, q query, name string, verdict hosts.Verdict) reply {
	found, err := s.cfg.Resolver.resolve(ctx, key{name: name, kind: q.question.Type, dnssec: q.dnssec, unchecked: q.CheckingDisabled})
	if err != nil {
		s.failed(name, err)
		return reply{code: dnsmessage.RCodeServerFailure}
	}
	if found.code != dnsmessage.RCodeSuccess && found.code != dnsmessage.RCodeNameError {
		s.failed(name, fmt.Errorf("ask for %s %s: the resolver answers %s", name, typeName(q.question.Type), codeName(found.code)))
		return reply{code: dnsmessage.RCodeServerFailure}
	}
	answers, addresses, dropped := found.usable(s.cfg.Resolver.refused)
	if len(dropped) > 0 && len(addresses) == 0 {
		return s.refuse(client, q, name, fmt.Sprintf("its address %s is not one of another host", dropped[0]))
	}
	age := s.cfg.Resolver.now().Sub(found.at).Truncate(time.Second)
	r := reply{code: found.code, authorities: aged(found.authorities, age), answers: aged(answers, age)}
	r.authentic = found.authentic && len(dropped) == 0 && (q.dnssec || q.AuthenticData)
	// The name in the client's own spelling (draft-vixie-dnsext-dns0x20), which it may look for.
	for i := range r.answers {
		if strings.EqualFold(r.answers[i].Header.Name.String(), q.question.Name.String()) {
			r.answers[i].Header.Name = q.question.Name
		}
	}
	if len(addresses) == 0 {
		return r
	}
	ttl := max(0, found.ttl-age)
	if s.cfg.Answered != nil {
		if err := s.cfg.Answered(ctx, Answered{Client: client, Name: name, Addresses: addresses, TTL: ttl, Verdict: verdict}); err != nil {
			s.failed(name, fmt.Errorf("open the way to its addresses: %w", err))
			return reply{code: dnsmessage.RCodeServerFailure}
		}
	}
	s.given.note(client, name, addresses, s.cfg.Resolver.now().Add(max(ttl, leastGiven)))
	return r
}

// reverse answers for the address of a name from what this client was given, and asks nobody:
// who serves the zone of an address chooses the name, and could be told things by the query.
func (s *Server) reverse(client netip.Addr, q query, name string) reply {
	a, ok := reverseAddress(name)
	if ok {
		if host, left := s.given.find(client, a, s.cfg.Resolver.now()); host != "" && s.cfg.Policy.Allowed(client, host, 0) != hosts.Refuse {
			if target, err := dnsmessage.NewName(host + "."); err == nil {
				h := dnsmessage.ResourceHeader{Name: q.question.Name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET, TTL: seconds(left)}
				return reply{answers: []dnsmessage.Resource{{Header: h, Body: &dnsmessage.PTRResource{PTR: target}}}}
			}
		}
	}
	return s.refuse(client, q, name, "no name was answered with this address lately")
}

// reverseAddress reads the name of an address (RFC 1035, 3.5; RFC 3596, 2.5).
func reverseAddress(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		bytes := strings.Split(rest, ".")
		slices.Reverse(bytes)
		a, err := netip.ParseAddr(strings.Join(bytes, "."))
		return a, err == nil && a.Is4()
	}
	rest := strings.TrimSuffix(name, ".ip6.arpa")
	nibbles := strings.Split(rest, ".")
	if len(nibbles) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(nibbles)
	var b strings.Builder
	for i, n := range nibbles {
		if len(n) != 1 {
			return netip.Addr{}, false
		}
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(n)
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}

// aged is a copy of records as they are some time later.
func aged(records []dnsmessage.Resource, age time.Duration) []dnsmessage.Resource {
	records = slices.Clone(records)
	for i := range records {
		h := &records[i].Header
		h.TTL = seconds(time.Duration(h.TTL)*time.Second - age)
	}
	return records
}

func seconds(d time.Duration) uint32 { return uint32(max(0, d) / time.Second) }

func typeName(t dnsmessage.Type) string {
	switch t {
	case 252:
		return "AXFR"
	case 255:
		return "ANY"
	case typeHTTPS:
		return "HTTPS"
	case typeSVCB:
		return "SVCB"
	}
	if s, ok := strings.CutPrefix(t.String(), "Type"); ok {
		return s
	}
	return fmt.Sprintf("TYPE%d", uint16(t)) // RFC 3597, 5
}
