package names

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Times that an answer is used for, and so what clients are told at most: a list's ways
// stay open for as long.
const (
	maxTTL      = time.Hour
	maxNegative = 5 * time.Minute // that there is nothing (RFC 2308, 5 advises 1 to 3 hours at most)
)

// result is what was answered to a question.
type result struct {
	code        dnsmessage.RCode
	authentic   bool
	answers     []dnsmessage.Resource // along the aliases, in their order
	authorities []dnsmessage.Resource // that there is nothing, and the proof of that
	ttl         time.Duration
	at          time.Time
	size        int // bytes, roughly
}

func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

// records reads the records of a section that are of the class IN.
func records(next func() (dnsmessage.Resource, error)) (all []dnsmessage.Resource, err error) {
	for {
		r, err := next()
		if err == dnsmessage.ErrSectionDone {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if r.Header.Class == dnsmessage.ClassINET {
			r.Header.TTL = seconds(bounded(r.Header.TTL))
			all = append(all, r)
		}
	}
}

func bounded(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0 // RFC 2181, 8
	}
	return min(time.Duration(ttl)*time.Second, maxTTL)
}

// parse reads the answer to k: the records of the name, and of what it is an alias of.
// Whatever else is in the message is nobody's answer.
func (k key) parse(message []byte) (result, error) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil {
		return result{}, err
	}
	if h.Truncated {
		return result{}, errors.New("it is truncated")
	}
	if err := p.SkipAllQuestions(); err != nil {
		return result{}, err
	}
	answers, err := records(p.Answer)
	if err != nil {
		return result{}, fmt.Errorf("answers: %w", err)
	}
	authorities, err := records(p.Authority)
	if err != nil {
		return result{}, fmt.Errorf("authorities: %w", err)
	}
	found := result{code: h.RCode, authentic: h.AuthenticData, size: len(message)}
	if h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError {
		return found, nil // nothing to be had, and not for long
	}
	if err := found.follow(k, answers); err != nil {
		return result{}, err
	}
	found.nothing(k, authorities)
	return found, nil
}

// follow collects the answers along the aliases.
func (f *result) follow(k key, answers []dnsmessage.Resource) error {
	name, err := dnsmessage.NewName(k.name + ".")
	if err != nil {
		return err
	}
	f.ttl = maxTTL
	for range maxAliases + 1 {
		var next *dnsmessage.Name
		for _, r := range answers {
			if !sameName(r.Header.Name, name) {
				continue
			}
			switch {
			case r.Header.Type == k.kind:
			case r.Header.Type == dnsmessage.TypeCNAME:
				c, ok := r.Body.(*dnsmessage.CNAMEResource)
				if !ok || next != nil {
					return errors.New("a name is an alias of two")
				}
				next = &c.CNAME
			case r.Header.Type == typeRRSIG && k.dnssec:
			default:
				continue
			}
			f.answers = append(f.answers, r)
			f.ttl = min(f.ttl, time.Duration(r.Header.TTL)*time.Second)
		}
		if next == nil {
			return nil
		}
		name = *next
	}
	return fmt.Errorf("it has more than %d aliases, or they go round", maxAliases)
}

// nothing keeps what says that there is nothing. Without it that is not kept (RFC 2308, 5).
func (f *result) nothing(k key, authorities []dnsmessage.Resource) {
	for _, r := range f.answers {
		if r.Header.Type == k.kind {
			return
		}
	}
	f.ttl = min(f.ttl, maxNegative)
	known := false
	for _, r := range authorities {
		switch r.Header.Type {
		case dnsmessage.TypeSOA:
			if soa, ok := r.Body.(*dnsmessage.SOAResource); ok {
				known = true
				f.ttl = min(f.ttl, time.Duration(r.Header.TTL)*time.Second, bounded(soa.MinTTL))
			}
		case typeRRSIG, typeNSEC, typeNSEC3:
			if !k.dnssec {
				continue
			}
		default:
			continue
		}
		f.authorities = append(f.authorities, r)
	}
	if !known {
		f.ttl = 0
	}
}

// usable is the answers without the addresses that are refused, the addresses that they
// have, and those that were left out. An IPv4 address in the form of an IPv6 one is refused:
// no host has one (RFC 4291, 2.5.5.2). So is what is behind the first maxAddresses: whoever answers
// for a name could have thousands in a message.
func (f result) usable(refused func(netip.Addr) bool) (answers []dnsmessage.Resource, addresses, dropped []netip.Addr) {
	for _, r := range f.answers {
		var a netip.Addr
		switch b := r.Body.(type) {
		case *dnsmessage.AResource:
			a = netip.AddrFrom4(b.A)
		case *dnsmessage.AAAAResource:
			a = netip.AddrFrom16(b.AAAA)
		default:
			answers = append(answers, r)
			continue
		}
		if len(addresses)+len(dropped) >= maxAddresses || a.Is4In6() || refused(a) {
			dropped = append(dropped, a)
			continue
		}
		answers, addresses = append(answers, r), append(addresses, a)
	}
	return answers, addresses, dropped
}
