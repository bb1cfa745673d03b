package watch

import (
	"encoding/binary"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The attributes of messages of nf_tables (linux/netfilter/nf_tables.h). A table's own
// name is the first attribute of messages about tables, too.
const (
	attrTable     = 1 // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
	attrRuleChain = 2 // NFTA_RULE_CHAIN
	attrChainName = 3 // NFTA_CHAIN_NAME
	attrProcPID   = 2 // NFTA_GEN_PROC_PID
	attrProcName  = 3 // NFTA_GEN_PROC_NAME
)

// Messages that libnftables and the kernel have got since golang.org/x/sys was made
// (linux/netfilter/nf_tables.h): what DEL is for a request that may find nothing.
const (
	msgDestroyChain = 27 // NFT_MSG_DESTROYCHAIN
	msgDestroyRule  = 28 // NFT_MSG_DESTROYRULE
)

// ruleReader makes sense of the events of nf_tables. A transaction is all its changes, and
// behind them a message with the generation that they made, which says who it was.
type ruleReader struct {
	cfg      Config
	hostPIDs bool // this process's PIDs are those that the kernel tells
	matters  bool // a change of the transaction that is being read does
}

func (r *ruleReader) begin() error {
	r.matters = false
	return nil
}

func (r *ruleReader) handle(m message) {
	const header = 4 // struct nfgenmsg
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < header {
		return
	}
	data := m.Data[header:]
	kind := m.Header.Type & 0xff
	if kind != unix.NFT_MSG_NEWGEN {
		r.matters = r.matters || r.cfg.Matters(change(kind, data))
		return
	}
	if !r.matters {
		return
	}
	r.matters = false
	var by Process
	for _, a := range attributes(data) {
		switch {
		case a.Attr.Type == attrProcPID && len(a.Value) >= 4:
			by.PID = int(binary.BigEndian.Uint32(a.Value))
		case a.Attr.Type == attrProcName:
			by.Name = nl.BytesToString(a.Value)
		}
	}
	if !r.own(by, m.Header.Pid) {
		r.cfg.Rules(by)
	}
}

// own reports whether a transaction is one's own. The kernel tells PIDs of its first PID
// namespace. In another one a process is known by the address of its socket, which is its
// PID there as a rule (netlink(7)), but which a process of a third one can have, too.
func (r *ruleReader) own(by Process, address uint32) bool {
	if r.hostPIDs && by.PID != 0 {
		return r.cfg.Own(by.PID)
	}
	return r.cfg.Own(int(address))
}

// firstPIDNamespace is the PID namespace that the kernel begins with, as /proc/PID/ns/pid
// has it (PROC_PID_INIT_INO of linux/proc_ns.h).
const firstPIDNamespace = "pid:[4026531836]"

// hasHostPIDs reports whether this process is in that namespace.
func hasHostPIDs() bool {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && namespace == firstPIDNamespace
}

// change is what a message of a kind is about.
func change(kind uint16, data []byte) RuleChange {
	name := uint16(0)
	switch kind {
	case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE, msgDestroyRule:
		name = attrRuleChain
	case unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN, msgDestroyChain:
		name = attrChainName
	}
	c := RuleChange{Message: data}
	for _, a := range attributes(data) {
		switch a.Attr.Type {
		case attrTable:
			c.Table = nl.BytesToString(a.Value)
		case name:
			c.Chain = nl.BytesToString(a.Value)
		}
	}
	return c
}
