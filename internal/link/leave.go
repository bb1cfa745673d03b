package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
)

// leavingWithin is how long a plan waits for links that are being destroyed. The kernel takes
// some 10 ms for a pair, unless something holds it for good ("waiting for veth… to become
// free" in its log).
const leavingWithin = 2 * time.Second

var errLeaving = errors.New("the kernel is still destroying the link that had this name")

// leaving are links that are out of service, and which the kernel destroys meanwhile. That
// takes it 10 ms and more for each link, nearly all of which it waits for grace periods
// (RCU) without any lock, and hardly more for many at once. So one goroutine asks for all
// that have come together, while passes go on.
//
// Only a pass hands links over, and passes run one at a time: who waits in one waits for an
// end.
type leaving struct {
	within time.Duration // 0: leavingWithin

	mu    sync.Mutex
	links map[int]string // names by index; asked for or not
	next  []int          // not asked for yet
	done  chan struct{}  // closed when none is left; nil: none is
}

// retire plans to take a link out of service, with addresses that it has from here, and to
// have it destroyed behind that.
func (p *planner) retire(w *work, l found, had []netip.Prefix, change string) {
	w.do(func() error {
		for _, a := range had {
			if err := p.deleteAddress(l.index, a); err != nil {
				return fmt.Errorf("delete address %s: %w", a, err)
			}
		}
		if err := p.takeOut(l.index); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("take it out of service: %w", err)
		}
		return p.leaving.add(p.Applier, l)
	}, change)
}

// takeOut takes a link down and off its bridge, in one message: from then on nothing passes
// it.
func (k kernel) takeOut(index int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	c := change{down: true}
	req.AddData(c.header(index))
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(0)))
	return k.execute(req)
}

// setGroup puts a link into a group (ip-link(8)).
func (k kernel) setGroup(index int, group uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	req.AddData(change{}.header(index))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	return k.execute(req)
}

// add hands a link over.
func (g *leaving) add(a *Applier, l found) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.links == nil {
		g.links = map[int]string{}
	}
	if g.done == nil {
		// Opened here, for a socket belongs to the namespace of the thread that opens it.
		socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a socket to delete it with: %w", err)
		}
		g.done = make(chan struct{})
		fault.Passed("link: something leaves")
		go g.run(a, socket)
	}
	g.links[l.index] = l.name
	g.next = append(g.next, l.index)
	return nil
}

// run has links destroyed until none is left.
func (g *leaving) run(a *Applier, socket *nl.NetlinkSocket) {
	defer socket.Close()
	k := kernel{on: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}}
	var failed []error
	for {
		g.mu.Lock()
		batch := g.next
		if g.next = nil; len(batch) == 0 {
			close(g.done)
			g.done = nil
			g.mu.Unlock()
			break
		}
		g.mu.Unlock()
		err := k.destroy(batch)
		g.mu.Lock()
		for _, index := range batch {
			if err[index] != nil {
				failed = append(failed, fmt.Errorf("%s: %w", g.links[index], err[index]))
			}
			delete(g.links, index)
		}
		g.mu.Unlock()
	}
	if len(failed) > 0 && a.Left != nil {
		a.Left(errors.Join(failed...))
	}
	fault.Passed("link: all has left")
}

// destroy deletes links, by one message for all if they are several: the grace periods are
// those of all then. The group that names them is new each time, so that it has no other
// links. It returns, by index, why some are there still.
func (k kernel) destroy(batch []int) map[int]error {
	failed := map[int]error{}
	if len(batch) > 1 {
		group, all := 1<<30|rand.Uint32N(1<<30), true // away from the numbers that people choose
		for _, index := range batch {
			all = k.setGroup(index, group) == nil && all
		}
		if all && k.deleteGroup(group) == nil {
			return failed
		}
	}
	for _, index := range batch {
		if err := k.deleteLink(index); err != nil {
			failed[index] = err
		}
	}
	return failed
}

// deleteGroup deletes all links of a group.
func (k kernel) deleteGroup(group uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(change{}.header(0))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	return k.execute(req)
}

// there are the links that may be there still, by index.
func (g *leaving) there() map[int]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.links)
}

// await waits until no link is left whose name is wanted, and returns the names of those that
// have taken too long.
func (g *leaving) await(ctx context.Context, wanted func(name string) bool) (late map[string]bool) {
	tooLong, cancel := context.WithTimeout(ctx, cmp.Or(g.within, leavingWithin))
	defer cancel()
	for {
		late = map[string]bool{}
		g.mu.Lock()
		for _, name := range g.links {
			if wanted(name) {
				late[name] = true
			}
		}
		done := g.done
		g.mu.Unlock()
		if len(late) == 0 {
			return nil
		}
		select {
		case <-done:
		case <-tooLong.Done():
			return late
		}
	}
}

// Wait returns when all links are gone that an applied plan has removed, or ctx has ended: the
// error names those that are left.
func (a *Applier) Wait(ctx context.Context) error {
	a.leaving.mu.Lock()
	done := a.leaving.done
	a.leaving.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		names := slices.Sorted(maps.Values(a.leaving.there()))
		return fmt.Errorf("links that are being destroyed: %s: %w", strings.Join(names, ", "), context.Cause(ctx))
	}
}
