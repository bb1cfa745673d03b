package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
)

// kernel is what answers requests about links (rtnetlink(7)), in the network namespace of
// the calling thread.
type kernel struct {
	asked func(req *nl.NetlinkRequest) // sees each request; may be nil
	on    map[int]*nl.SocketHandle     // the socket for requests; nil: one of the calling thread's for each
}

func (a *Applier) kernel() kernel { return kernel{asked: a.asked} }

// ask sends a request and returns the messages of type answer that come back; 0: there are
// none.
func (k kernel) ask(req *nl.NetlinkRequest, answer uint16) ([][]byte, error) {
	if k.asked != nil {
		k.asked(req)
	}
	if k.on != nil {
		req.Sockets = k.on
	}
	return req.Execute(unix.NETLINK_ROUTE, answer)
}

// execute sends a request that changes something, and waits for the kernel's answer.
func (k kernel) execute(req *nl.NetlinkRequest) error {
	if err := fault.Point("link: before " + effect(req)); err != nil {
		return err
	}
	_, err := k.ask(req, 0)
	fault.Passed("link: after " + effect(req))
	return err
}

// effect says what a request changes, for fault points.
func effect(req *nl.NetlinkRequest) string {
	switch {
	case req.Type == unix.RTM_NEWLINK && req.Flags&unix.NLM_F_CREATE != 0:
		return "making a link"
	case req.Type == unix.RTM_NEWLINK:
		return "changing a link"
	case req.Type == unix.RTM_DELLINK:
		return "deleting a link"
	case req.Type == unix.RTM_NEWADDR:
		return "adding an address"
	case req.Type == unix.RTM_DELADDR:
		return "deleting an address"
	case req.Type == unix.RTM_DELNEIGH:
		return "deleting a neighbour"
	case req.Type == unix.RTM_NEWNEIGH:
		return "changing a neighbour"
	}
	return fmt.Sprintf("request %d", req.Type)
}

// dumpTries is how often an interrupted dump is asked for again. Each try takes about
// a millisecond for a thousand links, so that only unceasing changes use them all up.
const dumpTries = 50

// dump asks for every object of a sort and returns the messages of the answer. A header
// that names a link asks for the objects of that link only, which kernels before 4.20
// don't know: they answer with all.
//
// The kernel sends a dump in several parts, and when something changes between two of
// them it says so (NLM_F_DUMP_INTR, which the library turns into ErrDumpInterrupted):
// an object may then be missing or doubled. Hosts that start and stop containers see
// this daily, and the only remedy is to ask again.
func (k kernel) dump(ask int, answer uint16, header nl.NetlinkRequestData) ([][]byte, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	// Without NETLINK_GET_STRICT_CHK the kernel does not look at what the header asks for.
	err = unix.SetsockoptInt(socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = nil
	}
	if err := errors.Join(err, socket.SetSendTimeout(&nl.SocketTimeoutTv), socket.SetReceiveTimeout(&nl.SocketTimeoutTv)); err != nil {
		return nil, err
	}
	handle := &nl.SocketHandle{Socket: socket}
	for range dumpTries {
		req := nl.NewNetlinkRequest(ask, unix.NLM_F_DUMP)
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: handle}
		req.AddData(header)
		var msgs [][]byte
		if msgs, err = k.ask(req, answer); err == nil {
			return msgs, nil
		}
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("interrupted %d times by changes: %w", dumpTries, err)
}
