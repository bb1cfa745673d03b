package names

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/dns/dnsmessage"
)

// Types that dnsmessage has no names for (IANA, "DNS Parameters").
const (
	typeMD      dnsmessage.Type = 3
	typeMF      dnsmessage.Type = 4
	typeMB      dnsmessage.Type = 7
	typeNULL    dnsmessage.Type = 10
	typeMINFO   dnsmessage.Type = 14
	typeRRSIG   dnsmessage.Type = 46
	typeNSEC    dnsmessage.Type = 47
	typeNSEC3   dnsmessage.Type = 50
	typeSVCB    dnsmessage.Type = 64
	typeHTTPS   dnsmessage.Type = 65
	firstMeta   dnsmessage.Type = 128 // to 255: TKEY, TSIG, IXFR, AXFR, MAILB, MAILA, ANY
	lastMeta    dnsmessage.Type = 255
	optionError                 = 15                   // EDE (RFC 8914)
	badVersion                  = dnsmessage.RCode(16) // RFC 6891, 6.1.3
)

// query is what is understood of a client's message.
type query struct {
	dnsmessage.Header
	question dnsmessage.Question
	edns     bool
	dnssec   bool // DO
	size     int  // bytes of an answer over UDP
}

var errMalformed = errors.New("malformed")

// read takes a client's message apart. ok is false for what can't be answered at all; else
// the code is what is answered, if it is not success. It wants one question, and behind it
// one OPT at most (RFC 6891, 6.1.1).
func read(message []byte) (q query, code dnsmessage.RCode, ok bool) {
	q.size = minUDP
	var p dnsmessage.Parser
	var err error
	if q.Header, err = p.Start(message); err != nil || q.Response {
		return q, 0, false
	}
	if q.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, true
	}
	counts := message[4:12]
	questions, answers, authorities := binary.BigEndian.Uint16(counts), binary.BigEndian.Uint16(counts[2:]), binary.BigEndian.Uint16(counts[4:])
	if questions != 1 || answers != 0 || authorities != 0 {
		return q, dnsmessage.RCodeFormatError, true
	}
	question, err := p.Question()
	if err != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	q.question = question
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	code, err = q.additionals(&p)
	if err != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	return q, code, true
}

// additionals looks for EDNS. Options are between neighbours or say where a client is, and
// none is passed on: client subnet (RFC 7871), cookies (RFC 7873).
func (q *query) additionals(p *dnsmessage.Parser) (code dnsmessage.RCode, err error) {
	for {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			return code, nil
		}
		if err != nil {
			return 0, err
		}
		if h.Type == dnsmessage.TypeOPT {
			if q.edns || h.Name.Length != 1 {
				return 0, errMalformed
			}
			if _, err := p.OPTResource(); err != nil {
				return 0, err
			}
			q.edns = true
			q.dnssec = h.DNSSECAllowed()
			q.size = min(max(int(h.Class), minUDP), maxUDP)
			if version := byte(h.TTL >> 16); version != 0 {
				code = badVersion
			}
			continue
		}
		if err := p.SkipAdditional(); err != nil {
			return 0, err
		}
	}
}

// reply is what is answered.
type reply struct {
	code        dnsmessage.RCode
	truncated   bool
	authentic   bool // AD
	answers     []dnsmessage.Resource
	authorities []dnsmessage.Resource
	why         string // EDE "Prohibited", 18
}

// pack makes the message that answers q; over UDP, of the size that the client reads.
func (q query) pack(r reply, stream bool) ([]byte, error) {
	size := maxTCP
	if !stream {
		size = q.size
	}
	m, err := q.build(r)
	if err == nil && len(m) > size {
		m, err = q.build(reply{code: r.code, truncated: true})
	}
	return m, err
}

func (q query) build(r reply) ([]byte, error) {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.ID, Response: true, OpCode: q.OpCode, Truncated: r.truncated, AuthenticData: r.authentic,
			RecursionDesired: q.RecursionDesired, RecursionAvailable: true, CheckingDisabled: q.CheckingDisabled,
			RCode: r.code & 0xf,
		},
		Answers: r.answers, Authorities: r.authorities,
	}
	if q.question.Name.Length > 0 {
		m.Questions = []dnsmessage.Question{q.question}
	}
	if q.edns {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(maxUDP, r.code, q.dnssec); err != nil {
			return nil, err
		}
		opt := &dnsmessage.OPTResource{}
		if r.why != "" {
			opt.Options = []dnsmessage.Option{{Code: optionError, Data: append([]byte{0, 18}, r.why...)}}
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: opt}}
	}
	return m.Pack()
}
