// Package names is a DNS server for containers that may reach listed names only. It answers
// for those, by asking the resolvers of the host, and refuses all others, so that a query is
// no way out either. What an answer gives is told before the answer is sent, so that whatever
// lets packets through to the address is in place when the client sends the first one.
//
// A client is known by the address that its query comes from. Docker's embedded DNS server
// (127.0.0.11) forwards to resolvers that the container was given (docker run --dns) from the
// container's network namespace: those queries can be redirected here, and come from the container.
// To those of the host's resolv.conf newer engines (28.5) forward from the host's namespace, and
// 20.10 if they are loopback addresses: those queries never come here.
//
// Messages are read and written by golang.org/x/net/dns/dnsmessage, which the net package
// uses, too: it is small and rejects what could be read in two ways. Answers are made anew
// of what is understood; nothing of a client's message is passed on but name, type and the
// flags CD and DO.
//
// Be aware: a listed name can carry data out to who serves it, in the labels below a listed
// suffix, and back in the answers. What an answer has of an alias (CNAME) is the question's
// name's: the list need not have the names that it goes through.
package names

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// Limits of what clients can cost.
const (
	perClient   = 64   // queries of one client at a time; a lookup of a browser's page is some ten
	atOnce      = 1024 // queries of all
	connsClient = 8    // TCP connections of one client
	connsAll    = 256
	patience    = 12 * time.Second // for one query: two servers, twice, and less than clients wait in all
	idle        = 10 * time.Second // of a TCP connection (RFC 7766, 6.2.3)

	maxUDP       = 1232 // bytes of an answer: no fragments on any link (DNS Flag Day 2020)
	minUDP       = 512  // what every client reads (RFC 1035, 4.2.1)
	maxTCP       = 65535
	maxAddresses = 128 // of one answer: each is looked up in the host's routes, and may be a rule
	maxAliases   = 16  // of one answer: what BIND and unbound follow, roughly
)

// Answered is what an answer gives, for which the way must be open before it is sent.
type Answered struct {
	Client    netip.Addr
	Name      string // the question's, as hosts.Question returns it
	Addresses []netip.Addr
	TTL       time.Duration // the shortest of the answer's records: 0 s to an hour, in whole seconds
	Verdict   hosts.Verdict // Allow or Audit
}

// Refused is a question that was not answered as asked.
type Refused struct {
	Client netip.Addr
	Name   string // as the client wrote it, where it is no host's name
	Type   string // such as A or TXT
	Reason string
}

// Config is how a server answers. Policy and Resolver are needed.
type Config struct {
	Policy   hosts.Policy
	Resolver *Resolver

	// Answered is told of each answer with addresses, before it is sent; if it fails, the
	// client gets SERVFAIL. nil: nobody is told.
	Answered func(context.Context, Answered) error
	// Refused is told of what was refused, or would be if the list weren't one that only
	// watches (Audit, without a reason). It must not block. nil: nobody is told.
	Refused func(Refused, hosts.Verdict)
	// Failed is told why a listed name could not be answered. It must not block.
	Failed func(name string, err error)
}

// Server answers queries, over UDP and TCP. Its methods may be called from any goroutine.
type Server struct {
	cfg     Config
	queries hosts.Gate
	given   given
	conns   hosts.Gate
	counts  counts
}

// New returns a Server that listens nowhere yet.
func New(cfg Config) (*Server, error) {
	if cfg.Policy == nil || cfg.Resolver == nil {
		return nil, errors.New("a DNS server needs a policy and a resolver")
	}
	return &Server{
		cfg:     cfg,
		queries: hosts.Gate{Each: perClient, All: atOnce},
		conns:   hosts.Gate{Each: connsClient, All: connsAll},
	}, nil
}
