package byname

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/mybr/mybr/internal/egress/carry"
	"github.com/mybr/mybr/internal/egress/hosts"
	"github.com/mybr/mybr/internal/egress/names"
	"github.com/mybr/mybr/internal/egress/web"
)

// run is what is served from the time at which something has names until nothing has.
type run struct {
	server  *Server
	ports   Ports
	dns     *names.Server
	carrier *carry.Carrier
	web     *webCounted

	cancel context.CancelFunc
	busy   sync.WaitGroup
}

// Limits of what is carried. A connection takes two descriptors, and four of pipes while bytes flow
// both ways; a quarter of what the process may have is for it.
const (
	perConnection = 6
	share         = 4
	mostAtOnce    = 8192
	mostOfOne     = 512
)

// atOnce is how many connections are carried at a time, of all clients and of one, by
// RLIMIT_NOFILE (getrlimit(2)).
func atOnce() (all, one int) {
	all = mostAtOnce
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) == nil { // it fails for bad arguments only
		all = int(max(1, min(r.Cur/share/perConnection, mostAtOnce)))
	}
	return all, max(1, min(all/2, mostOfOne))
}

// start listens and serves. Ports are recorded before anybody may know of them.
func (s *Server) start() (*run, error) {
	recorded, err := s.cfg.Recorded()
	if err != nil {
		return nil, err
	}
	r := &run{server: s}
	if err := r.build(); err != nil {
		return nil, err
	}
	at, err := listen(recorded)
	if err != nil {
		return nil, err
	}
	if r.ports = at.ports(); r.ports != recorded {
		if err := s.cfg.Record(r.ports); err != nil {
			at.close()
			return nil, fmt.Errorf("record the ports %d and %d: %w", r.ports.DNS, r.ports.TCP, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	for _, serve := range []func() error{
		func() error { return r.dns.ServePacket(ctx, at.packets) },
		func() error { return r.dns.ServeStream(ctx, at.queries) },
		func() error { return r.carrier.Serve(ctx, at.carried) },
	} {
		r.busy.Go(func() {
			if err := serve(); err != nil && ctx.Err() == nil {
				go s.lost(r, err) // which waits for this to end
			}
		})
	}
	return r, nil
}

// build makes what serves, which holds no memory to speak of before somebody comes.
func (r *run) build() (err error) {
	s := r.server
	resolver := names.NewResolver(s.cfg.Resolvers, s.forbidden)
	r.dns, err = names.New(names.Config{Policy: &s.clients, Resolver: resolver, Answered: s.answered, Refused: s.refusedQuery, Failed: s.cfg.Failed})
	if err != nil {
		return err
	}
	all, one := atOnce()
	dialer := &net.Dialer{Timeout: dialWithin}
	r.web = &webCounted{}
	r.web.Server, err = web.New(web.Config{
		Policy: &s.clients,
		Dial: func(ctx context.Context, name string, port uint16) (net.Conn, error) {
			c, err := carry.Connect(ctx, resolver, dialer, name, port)
			if err != nil {
				return nil, err // a nil *net.TCPConn would be a net.Conn
			}
			return c, nil
		},
		Refused: func(x web.Refused, v hosts.Verdict) {
			if v == hosts.Refuse {
				r.web.refused.Add(1)
			}
			s.refusedConnection(x.Client, x.To, x.Name, v)
		},
		Failed: func(name string, err error) {
			r.web.unreachable.Add(1)
			s.cfg.Failed(name, err)
		},
	})
	if err != nil {
		return err
	}
	r.carrier, err = carry.New(carry.Config{
		Policy: &s.clients, Resolver: resolver, Destination: carry.Redirected, Web: r.web, Dialer: dialer, PerClient: one, AtOnce: all,
		Refused: func(x carry.Refused, v hosts.Verdict) { s.refusedConnection(x.Client, x.To, x.Name, v) },
		Failed:  s.cfg.Failed,
	})
	return err
}

// dialWithin is how long one address of a server may take to answer.
const dialWithin = 10 * time.Second

// recheck ends what lists don't allow any more.
func (r *run) recheck() { r.carrier.Recheck() }

// end closes all sockets and connections, and waits for them.
func (r *run) end() {
	r.cancel()
	r.busy.Wait()
}
