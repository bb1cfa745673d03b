package link

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// deletersMost is how many links are deleted at a time. Each is a thread that waits.
const deletersMost = 16

// dropVeths plans to delete pairs that mybr made.
func (p *planner) dropVeths(gone []Veth) {
	all := &deletions{kernel: p.kernel}
	for _, v := range gone {
		p.dropVeth(v, all)
	}
}

func (p *planner) dropVeth(had Veth, all *deletions) {
	p.dropTolerated(had.settings())
	p.forget("lost/" + had.Host)
	w := work{subject: had.Host}
	l, there, err := p.find(had.Host)
	var peer found
	if err == nil && there && !l.ours() {
		peer, err = p.peerOf(l)
	}
	if err == nil && there && (l.ours() || had.made(l, peer)) {
		all.indexes = append(all.indexes, l.index)
		w.do(func() error { return all.delete(l.index) }, "delete pair")
	}
	p.add("veth", w, err)
}

// deletions are those of one plan. The first of them begins all, since for the longest part
// of the time that the kernel takes to destroy a link it has let go of the lock that keeps
// others from being changed (netdev_run_todo in net/core/dev.c).
type deletions struct {
	kernel
	indexes []int
	begun   map[int]chan error // nil: none is
}

// delete deletes a link, and what is to be deleted with it.
func (d *deletions) delete(index int) error {
	if d.begun == nil {
		if err := d.begin(); err != nil {
			return err
		}
	}
	done := d.begun[index]
	if done == nil { // it has failed before
		return d.deleteLink(index)
	}
	d.begun[index] = nil
	return <-done
}

// begin has all links deleted, by sockets that are of the calling thread's namespace.
func (d *deletions) begin() error {
	d.begun = map[int]chan error{}
	if len(d.indexes) < 2 { // nothing to be gained
		return nil
	}
	var sockets []*nl.NetlinkSocket
	for range min(len(d.indexes), deletersMost) {
		socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
		if err == nil {
			sockets = append(sockets, socket)
			err = errors.Join(socket.SetSendTimeout(&nl.SocketTimeoutTv), socket.SetReceiveTimeout(&nl.SocketTimeoutTv))
		}
		if err != nil {
			for _, s := range sockets {
				s.Close()
			}
			return err
		}
	}
	type deletion struct {
		index int
		done  chan error
	}
	left := make(chan deletion, len(d.indexes))
	for _, index := range d.indexes {
		d.begun[index] = make(chan error, 1)
		left <- deletion{index, d.begun[index]}
	}
	close(left)
	for _, socket := range sockets {
		handle := map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
		go func() {
			defer socket.Close()
			for one := range left {
				one.done <- d.deleteLinkBy(handle, one.index)
			}
		}()
	}
	return nil
}
