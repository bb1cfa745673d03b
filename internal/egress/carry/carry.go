// Package carry takes the TCP connections of containers that may reach listed names only, and
// carries each to the host that it names, if that is listed.
//
// A TLS client names its server in its first message (package hello); of HTTP each request
// does, which a Web judges. What begins with neither is refused: nothing tells where it goes.
// The address that the container chose counts for nothing but its port: the name is resolved
// here, and the connection is made to one of its addresses, by the host's own routes.
//
// Be aware: clients see a connection as soon as this process has accepted it; that the server
// can't be reached they see behind that, as a reset. Nothing is carried for a client that
// waits for the server to speak first. What is carried costs two goroutines and two
// descriptors, and while bytes flow up to two pipes.
// What is carried ends with the process.
package carry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mybr/mybr/internal/egress/hello"
	"github.com/mybr/mybr/internal/egress/hosts"
)

// Web serves connections of HTTP. Its methods are called by any goroutine.
type Web interface {
	// Serve serves a client that has connected to an address, until its connection or the
	// context ends. The caller closes the connection.
	Serve(ctx context.Context, client netip.Addr, to netip.AddrPort, c hosts.Conn)
	// Recheck ends what lists don't allow any more.
	Recheck()
}

// Resolver knows the addresses of a name: those that may be connected to, never an empty list.
type Resolver interface {
	Lookup(ctx context.Context, name string) ([]netip.Addr, error)
}

// Config is how connections are carried. Policy, Resolver and Destination are needed.
type Config struct {
	Policy      hosts.Policy
	Resolver    Resolver
	Destination Destination
	Web         Web // nil: HTTP is refused

	// Dialer connects to servers; its Control can mark sockets (ip-rule(8)). nil: one that
	// gives up after 10 s.
	Dialer *net.Dialer

	// PerClient and AtOnce bound the connections of one client and of all; 0: 512 and 8192.
	PerClient, AtOnce int

	// Refused is told of what was not carried, and of what is, but would not be if the list
	// weren't one that only watches (Audit, without a reason). It must not block. nil: nobody
	// is told.
	Refused func(Refused, hosts.Verdict)
	// Failed is told why a listed name could not be reached. It must not block. nil: nobody
	// is told.
	Failed func(name string, err error)
}

// Refused is a connection that a list does not allow.
type Refused struct {
	Client netip.Addr
	To     netip.AddrPort // where the client meant to connect to; zero: that is not known
	Name   string         // "": it has not said
	Reason string
}

// Counts is what has been carried since the Carrier was made. Bytes are counted a mebibyte
// at a time while they flow.
type Counts struct {
	Begun, Ended uint64
	Refused      uint64
	Unreachable  uint64 // the name has no addresses, or none answers
	Out, In      uint64 // bytes to servers, and to clients
}

// Carrier carries connections. Its methods may be called from any goroutine.
type Carrier struct {
	cfg  Config
	gate hosts.Gate

	begun, ended, refused, unreachable, out, in atomic.Uint64

	mu    sync.Mutex
	conns map[*connection]struct{} // those that have said a name
}

// Limits of what is not known yet, and of a connection that is being refused.
const (
	patience = 10 * time.Second // until a client has said what it wants, and until a server has answered
	parting  = time.Second      // until a client that is refused has read why
)

// New returns a Carrier that serves no socket yet.
func New(cfg Config) (*Carrier, error) {
	if cfg.Policy == nil || cfg.Resolver == nil || cfg.Destination == nil {
		return nil, errors.New("carrying connections needs a policy, a resolver, and what tells destinations")
	}
	if cfg.Dialer == nil {
		cfg.Dialer = &net.Dialer{Timeout: patience}
	}
	if cfg.PerClient == 0 {
		cfg.PerClient = 512
	}
	if cfg.AtOnce == 0 {
		cfg.AtOnce = 8192
	}
	return &Carrier{cfg: cfg, gate: hosts.Gate{Each: cfg.PerClient, All: cfg.AtOnce}, conns: map[*connection]struct{}{}}, nil
}

// Serve carries the connections that come to a socket until the context ends; then it resets
// them and closes the socket. It returns when all have ended. The socket should not offer
// Multipath TCP (net.ListenConfig.SetMultipathTCP), of whose connections the kernel does not
// tell the original destination.
//
// Errors: that the socket was closed by another; nil if the context has ended.
func (c *Carrier) Serve(ctx context.Context, l *net.TCPListener) error {
	return hosts.Accept(ctx, l, &c.gate, c.serve)
}

// Counts is what has been carried.
func (c *Carrier) Counts() Counts {
	return Counts{
		Begun: c.begun.Load(), Ended: c.ended.Load(), Refused: c.refused.Load(), Unreachable: c.unreachable.Load(),
		Out: c.out.Load(), In: c.in.Load(),
	}
}

// Recheck resets the connections that lists don't allow any more. It is for whoever has
// changed a list, behind the change.
func (c *Carrier) Recheck() {
	c.mu.Lock()
	var ended []*connection
	for x := range c.conns {
		if c.cfg.Policy.Allowed(x.client, x.name, x.to.Port()) == hosts.Refuse {
			ended = append(ended, x)
		}
	}
	c.mu.Unlock()
	for _, x := range ended {
		c.refuse(x.client, x.to, x.name, "the list has no longer the host")
		x.end()
	}
	if c.cfg.Web != nil {
		c.cfg.Web.Recheck()
	}
}

func (c *Carrier) refuse(client netip.Addr, to netip.AddrPort, name, reason string) {
	c.refused.Add(1)
	if c.cfg.Refused != nil {
		c.cfg.Refused(Refused{Client: client, To: to, Name: name, Reason: reason}, hosts.Refuse)
	}
}

func (c *Carrier) failed(name string, err error) {
	c.unreachable.Add(1)
	if c.cfg.Failed != nil {
		c.cfg.Failed(name, err)
	}
}

// serve is one connection, from its first byte.
func (c *Carrier) serve(ctx context.Context, client netip.Addr, conn *net.TCPConn) {
	to, err := c.cfg.Destination(conn)
	if err != nil {
		c.refuse(client, netip.AddrPort{}, "", err.Error())
		hosts.Reset(conn)
		return
	}
	until := time.Now().Add(patience)
	stop := context.AfterFunc(ctx, func() { hosts.Reset(conn) })
	defer stop()
	first := make([]byte, 1)
	err = conn.SetReadDeadline(until)
	if err == nil {
		_, err = conn.Read(first)
	}
	if err != nil {
		c.refuse(client, to, "", fmt.Sprintf("it said nothing: %v", err))
		hosts.Reset(conn)
		return
	}
	whole := &begun{TCPConn: conn, first: first}
	switch {
	case first[0] == 22 || first[0] == 0x80: // a handshake of TLS, or of SSL 2.0, which hello knows
		c.tls(ctx, client, to, whole, until)
	case first[0] >= 'A' && first[0] <= 'Z' && c.cfg.Web != nil:
		if conn.SetReadDeadline(time.Time{}) == nil {
			c.cfg.Web.Serve(ctx, client, to, whole)
		}
	default:
		c.refuse(client, to, "", fmt.Sprintf("it begins with %q, neither TLS nor HTTP, and so names no host", first))
		hosts.Reset(conn)
	}
}

// tls carries a connection to the server that its ClientHello names.
func (c *Carrier) tls(ctx context.Context, client netip.Addr, to netip.AddrPort, conn *begun, until time.Time) {
	h, err := hello.From(conn, until)
	var r *hello.Refusal
	switch {
	case errors.As(err, &r):
		c.refuse(client, to, "", r.Error())
		part(conn.TCPConn, r.Record())
		return
	case err != nil:
		c.refuse(client, to, "", err.Error())
		hosts.Reset(conn.TCPConn)
		return
	}
	x := c.begin(client, to, h.Name, conn.TCPConn)
	defer c.gone(x)
	// Asked when it is among those that Recheck looks at: no change of a list is missed.
	switch c.cfg.Policy.Allowed(client, h.Name, to.Port()) {
	case hosts.Allow:
	case hosts.Audit:
		if c.cfg.Refused != nil {
			c.cfg.Refused(Refused{Client: client, To: to, Name: h.Name}, hosts.Audit)
		}
	default:
		const reason = "the host is not on the list"
		c.refuse(client, to, h.Name, reason)
		part(conn.TCPConn, h.Refuse(reason).Record())
		return
	}
	server, err := Connect(ctx, c.cfg.Resolver, c.cfg.Dialer, h.Name, to.Port())
	if err != nil {
		c.failed(h.Name, err)
		x.end()
		return
	}
	c.carry(ctx, x, server, h.Raw)
}

// part closes a connection so that its client reads what it is told: what it has sent and
// nobody has read would have the kernel reset the connection, and drop that (RFC 1122, 4.2.2.13).
func part(c *net.TCPConn, last []byte) {
	if c.SetDeadline(time.Now().Add(parting)) != nil {
		return
	}
	if _, err := c.Write(last); err != nil || c.CloseWrite() != nil {
		return
	}
	buf := make([]byte, 4096)
	for range 64 { // 256 KiB
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

// begun is a connection of which a part was read.
type begun struct {
	*net.TCPConn
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.TCPConn.Read(p)
}
