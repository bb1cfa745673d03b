package watch

import (
	"encoding/binary"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The attributes of RTM_NEWNETCONF, and the index that stands for the host as a whole
// (linux/netconf.h).
const (
	netconfIndex      = 1  // NETCONFA_IFINDEX
	netconfForwarding = 2  // NETCONFA_FORWARDING
	netconfAll        = -1 // NETCONFA_IFINDEX_ALL
)

// dumpSequence is the sequence number of the request for all links. Events have 0, or that
// of the request by which some other socket has caused them.
const dumpSequence = 0x6d796272

// linkReader makes sense of the events of rtnetlink(7).
type linkReader struct {
	cfg    Config
	socket *socket
	names  map[int32]string // of all links, by index
	broken bool             // a link may be missing in the answer that is coming
}

// begin asks for all links, so that it is known what name a link had that is renamed. The
// answers come among the events.
func (r *linkReader) begin() error {
	if r.broken = false; r.names == nil {
		r.names = map[int32]string{}
	}
	return r.ask()
}

func (r *linkReader) ask() error {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	request.Seq = dumpSequence
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	return r.socket.send(request.Serialize())
}

func (r *linkReader) handle(m message) {
	if m.Header.Seq == dumpSequence && m.Header.Pid == r.socket.port {
		r.learn(m)
		return
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		r.link(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(m.Data) < unix.SizeofIfAddrmsg {
			return
		}
		if name, ok := r.names[int32(nl.DeserializeIfAddrmsg(m.Data).Index)]; ok {
			r.cfg.Link(name)
		}
	case unix.RTM_NEWNETCONF:
		r.netconf(m)
	}
}

// learn notes a link of the answer to ask. One that changed meanwhile has told its new
// name behind its old one.
func (r *linkReader) learn(m message) {
	r.broken = r.broken || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
	switch m.Header.Type {
	case unix.RTM_NEWLINK:
		if index, name := nameOf(m); name != "" {
			r.names[index] = name
		}
	case unix.NLMSG_DONE:
		if r.broken {
			r.broken = false
			if err := r.ask(); err != nil {
				r.cfg.Warn("ask for the names of links: %v", err)
			}
		}
	}
}

// link tells of a link. Bridges send their ports' state with the family AF_BRIDGE, also
// when a port leaves: that is a message of type RTM_DELLINK about a link that stays.
func (r *linkReader) link(m message) {
	index, name := nameOf(m)
	if name == "" {
		return
	}
	gone := m.Header.Type == unix.RTM_DELLINK && m.Data[0] == unix.AF_UNSPEC
	was := r.names[index]
	if r.names[index] = name; gone {
		delete(r.names, index)
	}
	if r.cfg.Link(name); was != "" && was != name {
		r.cfg.Link(was)
	}
}

// nameOf returns which link a message is about; the name is "" if it says nothing of one.
func nameOf(m message) (index int32, name string) {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return 0, ""
	}
	header := nl.DeserializeIfInfomsg(m.Data)
	for _, a := range attributes(m.Data[unix.SizeofIfInfomsg:]) {
		if a.Attr.Type == unix.IFLA_IFNAME {
			name = nl.BytesToString(a.Value)
		}
	}
	return header.Index, name
}

// netconf tells of the host's forwarding.
func (r *linkReader) netconf(m message) {
	const header = 4 // struct netconfmsg, the family and its padding
	if len(m.Data) < header {
		return
	}
	all, off := false, false
	for _, a := range attributes(m.Data[header:]) {
		if len(a.Value) < 4 {
			continue
		}
		switch v := int32(binary.NativeEndian.Uint32(a.Value)); a.Attr.Type {
		case netconfIndex:
			all = v == netconfAll
		case netconfForwarding:
			off = v == 0
		}
	}
	if all && off {
		r.cfg.ForwardingOff(m.Data[0] == unix.AF_INET6)
	}
}

// attributes are those of a message; what can't be parsed has none.
func attributes(b []byte) []syscall.NetlinkRouteAttr {
	all, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil
	}
	return all
}
