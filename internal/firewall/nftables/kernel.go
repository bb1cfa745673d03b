package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
)

// This file is about the sockets by which the kernel is asked and told.

const (
	// A transaction is one message to the kernel, with an answer to each of its parts: these
	// hold the largest that there can be, with 65535 ports of each protocol, and cost nothing
	// until they are used. By default they hold 212992 bytes (net.core.wmem_default).
	sendBuffer    = 64 << 20
	receiveBuffer = 8 << 20

	// attempts is how often the table is read if others change rules meanwhile.
	attempts = 10

	// ownFor is how long the address of a socket stands for it after it was closed: events
	// about its changes may be read later.
	ownFor = 10 * time.Second
)

// sockets opens them, and knows which they were.
type sockets struct {
	mu    sync.Mutex
	ended map[int]time.Time // by address (netlink(7)); zero: it is open
}

// own reports whether an address is that of a socket of this process's, now or a moment ago.
func (s *sockets) own(address int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended, ok := s.ended[address]
	return ok && (ended.IsZero() || time.Since(ended) < ownFor)
}

// open returns a socket in the network namespace of the calling thread. What is asked by it
// ends with the context, if that has an end.
func (s *sockets) open(ctx context.Context) (conn *nftables.Conn, end func(), err error) {
	address := 0
	conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var named error
		err = raw.Control(func(fd uintptr) {
			var of unix.Sockaddr
			if of, named = unix.Getsockname(int(fd)); named == nil {
				address = int(of.(*unix.SockaddrNetlink).Pid)
			}
		})
		if deadline, ok := ctx.Deadline(); ok {
			err = errors.Join(err, c.SetDeadline(deadline))
		}
		return errors.Join(err, named, c.SetReadBuffer(receiveBuffer), c.SetWriteBuffer(sendBuffer))
	}))
	if err != nil {
		return nil, nil, fmt.Errorf("open a socket of nf_tables: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.ended, func(_ int, t time.Time) bool { return !t.IsZero() && time.Since(t) > ownFor })
	if s.ended == nil {
		s.ended = map[int]time.Time{}
	}
	s.ended[address] = time.Time{}
	return conn, func() {
		_ = conn.CloseLasting() // nothing is lost: all answers have been read
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended[address] = time.Now()
	}, nil
}

// commit has the kernel carry out all that was put into conn, or nothing of it.
func commit(conn *nftables.Conn) error {
	if err := fault.Point("nftables: before a transaction"); err != nil {
		return err
	}
	defer fault.Passed("nftables: after a transaction")
	return conn.Flush()
}

// generation is the number of the rules of all tables as they are now: each change of
// anybody's makes another one.
func generation() (uint32, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return 0, err
	}
	answers, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}, // struct nfgenmsg
	})
	if err := errors.Join(err, c.Close()); err != nil {
		return 0, err
	}
	for _, m := range answers {
		if len(m.Data) < 4 {
			continue
		}
		all, err := netlink.UnmarshalAttributes(m.Data[4:])
		if err != nil {
			return 0, err
		}
		for _, a := range all {
			if a.Type == unix.NFTA_GEN_ID && len(a.Data) == 4 {
				return binary.BigEndian.Uint32(a.Data), nil
			}
		}
	}
	return 0, errors.New("the kernel does not tell the generation of its rules")
}

// steady calls fn until nobody has changed rules meanwhile: what is listed of them one by
// one is then as it was at one moment. Where others change theirs all the time, the last
// attempt counts: what was read of one's own is as good as always then, and the next look
// mends what was not.
func steady(ctx context.Context, fn func() error) (err error) {
	for range attempts {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		before, err := generation()
		if err != nil {
			return fmt.Errorf("read rules of nf_tables: %w", err)
		}
		err = fn()
		if after, failed := generation(); failed != nil || before == after {
			return errors.Join(err, failed)
		}
	}
	return err
}

// hasTable reports whether there is a table of that name in a family.
func hasTable(conn *nftables.Conn, f nftables.TableFamily, name string) (bool, error) {
	tables, err := conn.ListTablesOfFamily(f)
	if err != nil {
		return false, fmt.Errorf("list tables of nf_tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == name }), nil
}
