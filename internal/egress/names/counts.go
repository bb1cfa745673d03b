package names

import (
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"
)

// Counts is how questions have been answered since the Server was made.
type Counts struct {
	Answered  uint64 // of a listed name, that it does not exist among them
	Refused   uint64 // REFUSED
	Failed    uint64 // SERVFAIL: the resolvers, or the way to the addresses, failed
	Malformed uint64 // what is no question that could be answered
	Dropped   uint64 // not answered at all: too many at a time
}

type counts struct{ answered, refused, failed, malformed, dropped atomic.Uint64 }

// note counts an answer by its code.
func (c *counts) note(code dnsmessage.RCode) {
	switch code {
	case dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError:
		c.answered.Add(1)
	case dnsmessage.RCodeRefused:
		c.refused.Add(1)
	case dnsmessage.RCodeServerFailure:
		c.failed.Add(1)
	default:
		c.malformed.Add(1)
	}
}

// Counts is what has been counted.
func (s *Server) Counts() Counts {
	return Counts{
		Answered: s.counts.answered.Load(), Refused: s.counts.refused.Load(), Failed: s.counts.failed.Load(),
		Malformed: s.counts.malformed.Load(), Dropped: s.counts.dropped.Load(),
	}
}
