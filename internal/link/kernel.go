package link

import (
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
