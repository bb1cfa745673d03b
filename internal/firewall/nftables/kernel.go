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
	kept  *socket           // for changes; nil: there is none that is free
}

// socket is one of nf_tables'.
type socket struct {
	*nftables.Conn
	raw     *netlink.Conn
	address int
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
	c, err := s.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	return c.Conn, func() { s.close(c) }, nil
}

// dial is open.
func (s *sockets) dial(ctx context.Context) (*socket, error) {
	c := &socket{}
	var err error
	c.Conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(raw *netlink.Conn) error {
		c.raw = raw
		of, err := raw.SyscallConn()
		if err != nil {
			return err
		}
		var named error
		err = of.Control(func(fd uintptr) {
			var at unix.Sockaddr
			if at, named = unix.Getsockname(int(fd)); named == nil {
				c.address = int(at.(*unix.SockaddrNetlink).Pid)
			}
		})
		return errors.Join(err, named, c.within(ctx), raw.SetReadBuffer(receiveBuffer), raw.SetWriteBuffer(sendBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("open a socket of nf_tables: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.ended, func(_ int, t time.Time) bool { return !t.IsZero() && time.Since(t) > ownFor })
	if s.ended == nil {
		s.ended = map[int]time.Time{}
	}
	s.ended[c.address] = time.Time{}
	return c, nil
}

// within has what is asked end with the context, if that has an end.
func (c *socket) within(ctx context.Context) error {
	end, _ := ctx.Deadline() // zero: there is none
	return c.raw.SetDeadline(end)
}

func (s *sockets) close(c *socket) {
	_ = c.CloseLasting() // nothing is lost: all answers have been read, or nobody wants them
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[c.address] = time.Now()
}

// change calls fn with a socket that stays open for the next change, in the network namespace
// of the thread that made the first one. The kernel does not let a socket of netfilter's be
// closed before what was deleted before is destroyed (nft_rcv_nl_event of
// net/netfilter/nf_tables_api.c), for which it waits for a grace period of RCU, some 10 ms.
// After an error the socket is closed: answers may be left in it, and messages unsent.
func (s *sockets) change(ctx context.Context, fn func(conn *nftables.Conn) error) error {
	s.mu.Lock()
	c := s.kept
	s.kept = nil
	s.mu.Unlock()
	err := error(nil)
	if c == nil {
		c, err = s.dial(ctx)
	} else {
		err = c.within(ctx)
	}
	if c == nil {
		return err
	}
	done := false
	defer func() {
		if !done { // fn may have panicked, too
			s.close(c)
		}
	}()
	if err == nil {
		err = fn(c.Conn)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if done = s.kept == nil; done {
		s.kept = c
	}
	return nil
}

// write has one change made, in one transaction, by the socket that stays open.
func (s *sockets) write(ctx context.Context, c change) error {
	return s.change(ctx, func(conn *nftables.Conn) error {
		if err := c.put(conn); err != nil {
			return err
		}
		if err := commit(conn); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		return nil
	})
}

// forget closes the socket that is kept, if there is one.
func (s *sockets) forget() {
	s.mu.Lock()
	c := s.kept
	s.kept = nil
	s.mu.Unlock()
	if c != nil {
		s.close(c)
	}
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
