package carry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// connection is one that has said a name.
type connection struct {
	client netip.Addr
	to     netip.AddrPort
	name   string

	mu    sync.Mutex
	ended bool
	ends  []*net.TCPConn // the client's, and the server's once there is one
}

func (c *Carrier) begin(client netip.Addr, to netip.AddrPort, name string, conn *net.TCPConn) *connection {
	x := &connection{client: client, to: to, name: name, ends: []*net.TCPConn{conn}}
	c.begun.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[x] = struct{}{}
	return x
}

func (c *Carrier) gone(x *connection) {
	c.ended.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, x)
}

// join adds the server's end. If the connection has ended meanwhile, that ends, too.
func (x *connection) join(server *net.TCPConn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		hosts.Reset(server)
		return false
	}
	x.ends = append(x.ends, server)
	return true
}

// end resets both ends.
func (x *connection) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	for _, c := range x.ends {
		hosts.Reset(c)
	}
}

// carry sends on what was read and then copies both ways, until both have ended. An end of
// one direction is passed on as one; what breaks a direction breaks the connection.
func (c *Carrier) carry(ctx context.Context, x *connection, server *net.TCPConn, first []byte) {
	if !x.join(server) {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, x.end)()
	n, err := server.Write(first)
	c.out.Add(uint64(n))
	if err != nil {
		x.end()
		return
	}
	client := x.ends[0]
	var back sync.WaitGroup
	back.Go(func() { x.direction(client, server, &c.in) })
	x.direction(server, client, &c.out)
	back.Wait()
}

func (x *connection) direction(to, from *net.TCPConn, count *atomic.Uint64) {
	err := stream(to, from, count)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		x.end()
	}
}

// atOnce is how much is copied before it is counted.
const atOnce = 1 << 20

// stream copies until the end, inside the kernel: ReadFrom of a connection splices (splice(2))
// what a LimitedReader gives of another connection.
func stream(to, from *net.TCPConn, count *atomic.Uint64) error {
	for {
		part := io.LimitedReader{R: from, N: atOnce}
		n, err := to.ReadFrom(&part)
		count.Add(uint64(n))
		if err != nil || part.N > 0 {
			return err
		}
	}
}
