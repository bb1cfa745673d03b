package conntrack

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// sockets are those that requests to the kernel use; nil: each one of its own, in the
// namespace of the calling thread.
type sockets map[int]*nl.SocketHandle

// kernel is asked by sockets that stay open. The kernel lets no socket of netfilter's be closed
// before what was deleted of nf_tables is destroyed, and nobody change rules meanwhile
// (nft_rcv_nl_event of net/netfilter/nf_tables_api.c).
type kernel struct {
	netfilter sockets
	route     *netlink.Handle
}

// openKernel opens them in the namespace of the calling thread. What gets no answer within a time
// ends with EAGAIN: a request does not end with its context.
func openKernel(within time.Duration) (*kernel, error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	k := &kernel{netfilter: sockets{unix.NETLINK_NETFILTER: {Socket: socket}}}
	timeout := unix.NsecToTimeval(within.Nanoseconds())
	if err := errors.Join(socket.SetSendTimeout(&timeout), socket.SetReceiveTimeout(&timeout)); err != nil {
		k.close()
		return nil, fmt.Errorf("limit how long a socket waits: %w", err)
	}
	if k.route, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		k.close()
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	if err := k.route.SetSocketTimeout(within); err != nil {
		k.close()
		return nil, fmt.Errorf("limit how long a socket waits: %w", err)
	}
	return k, nil
}

func (k *kernel) close() {
	for _, s := range k.netfilter {
		s.Socket.Close()
	}
	if k.route != nil {
		k.route.Close()
	}
}
