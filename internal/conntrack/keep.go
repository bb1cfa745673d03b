package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/plan"
)

// The kernel tracks and translates flows only while some rule asks for it. Once others have
// flushed all such rules, the packets of a published port's connection come to the host
// itself, which resets it, and those of a masqueraded one leave with the container's
// address: what was established breaks within the moment that it takes to put the rules
// back. A table of nf_tables that its process owns is not flushed by others (nft(8), flag
// owner; Linux 5.12), so a rule in such a table keeps the flows going. It goes with the
// socket that made it.
const (
	keepTable = "mybr"
	keepChain = "keep-flows"

	// tableOwner is NFT_TABLE_F_OWNER (linux/netfilter/nf_tables.h).
	tableOwner = 0x2

	// keepWithin bounds the wait for the kernel's answer, in seconds.
	keepWithin = 5
)

// keeper is the socket that owns the table.
type keeper struct{ socket *os.File }

// keep makes the table, in the network namespace of the calling thread. It stays until
// Close, or until the process ends.
func keep() (*keeper, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	k := &keeper{os.NewFile(uintptr(fd), "netlink")}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: keepWithin})
	if err == nil {
		err = transact(fd, keepMessages())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make table %s: %w", keepTable, err), k.Close())
	}
	return k, nil
}

// Close removes the table.
func (k *keeper) Close() error { return k.socket.Close() }

// planKeeper has the table made if it is wanted, or removed if not. again says that it is to
// be tried once more where it could not be made, save that the kernel knows of no such thing.
func (a *Applier) planKeeper(wanted, again bool) plan.Plan {
	switch {
	case wanted && a.keeper == nil && (a.unkept == nil || again && !errors.Is(a.unkept, errors.ErrUnsupported)):
		return plan.Plan{{Changes: []string{"conntrack: make table inet " + keepTable + " of nf_tables, which keeps flows going when rules are flushed"},
			Do: func(ctx context.Context) error {
				if err := a.released.wait(ctx); err != nil {
					return err
				}
				told := a.unkept
				a.keeper, a.unkept = keep()
				if a.unkept != nil && a.Info != nil && (told == nil || told.Error() != a.unkept.Error()) {
					a.Info("connections by published ports and masqueraded ones break if others flush all rules: %v", a.unkept)
				}
				return nil
			}}}
	case !wanted && a.keeper != nil:
		return plan.Plan{{Changes: []string{"conntrack: remove table inet " + keepTable + " of nf_tables"},
			Do: func(context.Context) error { a.letGo(); return nil }}}
	}
	return nil
}

// release is a table that is being removed: the kernel waits for grace periods (RCU) meanwhile,
// 10 to 40 ms, and no packet cares for the table any more.
type release struct{ done chan struct{} } // closed when it is

// wait returns when it is removed.
func (r *release) wait(ctx context.Context) error {
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("conntrack: table %s of nf_tables is being removed: %w", keepTable, context.Cause(ctx))
	}
}

// Close ends what keeps flows going, and gives the sockets back by which flows are looked for
// behind plans, unless that is under way. The Applier can be used on.
func (a *Applier) Close() error {
	l := &a.later
	l.mu.Lock()
	if l.done == nil && l.on != nil {
		l.on.close()
		l.on = nil
	}
	l.mu.Unlock()
	a.letGo()
	return a.released.wait(context.Background())
}

// letGo begins to end what keeps flows going.
func (a *Applier) letGo() {
	k := a.keeper
	if a.keeper = nil; k == nil {
		return
	}
	r := &release{done: make(chan struct{})}
	a.released = r
	fault.Passed("conntrack: the table leaves")
	go func() {
		if err := k.Close(); err != nil && a.Info != nil {
			a.Info("remove table %s of nf_tables: %v", keepTable, err)
		}
		close(r.done)
		fault.Passed("conntrack: the table has left")
	}()
}

// keepMessages makes the table, a chain in it whose hook has flows of both families
// translated, and a rule that reads a flow's state, and so has flows tracked. Nothing
// becomes of the packets.
func keepMessages() []*nl.NetlinkRequest {
	table := nftMessage(unix.NFT_MSG_NEWTABLE)
	table.AddData(nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(keepTable)))
	table.AddData(nl.NewRtAttr(unix.NFTA_TABLE_FLAGS, nl.BEUint32Attr(tableOwner)))

	chain := nftMessage(unix.NFT_MSG_NEWCHAIN)
	chain.AddData(nl.NewRtAttr(unix.NFTA_CHAIN_TABLE, nl.ZeroTerminated(keepTable)))
	chain.AddData(nl.NewRtAttr(unix.NFTA_CHAIN_NAME, nl.ZeroTerminated(keepChain)))
	chain.AddData(nl.NewRtAttr(unix.NFTA_CHAIN_TYPE, nl.ZeroTerminated("nat")))
	hook := nl.NewRtAttr(unix.NLA_F_NESTED|unix.NFTA_CHAIN_HOOK, nil)
	hook.AddRtAttr(unix.NFTA_HOOK_HOOKNUM, nl.BEUint32Attr(unix.NF_INET_POST_ROUTING))
	hook.AddRtAttr(unix.NFTA_HOOK_PRIORITY, nl.BEUint32Attr(math.MaxInt16)) // behind all that translate
	chain.AddData(hook)

	rule := nftMessage(unix.NFT_MSG_NEWRULE)
	rule.AddData(nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(keepTable)))
	rule.AddData(nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(keepChain)))
	expressions := nl.NewRtAttr(unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, nil)
	state := expressions.AddRtAttr(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, nil)
	state.AddRtAttr(unix.NFTA_EXPR_NAME, nl.ZeroTerminated("ct"))
	read := state.AddRtAttr(unix.NLA_F_NESTED|unix.NFTA_EXPR_DATA, nil)
	read.AddRtAttr(unix.NFTA_CT_KEY, nl.BEUint32Attr(unix.NFT_CT_STATE))
	read.AddRtAttr(unix.NFTA_CT_DREG, nl.BEUint32Attr(unix.NFT_REG_1))
	rule.AddData(expressions)
	return []*nl.NetlinkRequest{table, chain, rule}
}

// nftMessage begins a message about something of the table's.
func nftMessage(kind int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_CREATE|unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET, Version: nl.NFNETLINK_V0})
	return req
}

// transact has the kernel carry out all of the messages, or none
// (linux/netfilter/nfnetlink.h, NFNL_MSG_BATCH_BEGIN).
func transact(fd int, messages []*nl.NetlinkRequest) error {
	subsystem := binary.NativeEndian.Uint16([]byte{0, unix.NFNL_SUBSYS_NFTABLES}) // in network byte order
	edge := func(kind int) []byte {
		req := nl.NewNetlinkRequest(kind, 0)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0, ResId: subsystem})
		return req.Serialize()
	}
	batch := edge(unix.NFNL_MSG_BATCH_BEGIN)
	for _, m := range messages {
		batch = append(batch, m.Serialize()...)
	}
	batch = append(batch, edge(unix.NFNL_MSG_BATCH_END)...)
	if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	buf := make([]byte, 1<<16)
	for left := len(messages); left > 0; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		answers, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		for _, a := range answers {
			if a.Header.Type != unix.NLMSG_ERROR || len(a.Data) < 4 {
				continue
			}
			left--
			// struct nlmsgerr: a negative error number first, 0 for success.
			if code := int32(binary.NativeEndian.Uint32(a.Data)); code != 0 {
				return unix.Errno(-code)
			}
		}
	}
	return nil
}
