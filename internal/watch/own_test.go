package watch

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// In the kernel's first PID namespace a process is known by its PID alone: one in another
// namespace, such as a container that shares the host's network, may have a socket at the
// address that is one's own command's PID. Elsewhere it is known by the address.
func TestWhoseRules(t *testing.T) {
	const own, foreign = 42, 4242
	for _, c := range []struct {
		first        bool
		pid, address uint32
		told         bool
	}{
		{true, own, own, false},
		{true, own, ^uint32(4095), false}, // the address was taken
		{true, foreign, own, true},
		{true, 0, own, false}, // a kernel that doesn't say
		{false, foreign, own, false},
		{false, own, foreign, true},
		{false, own, ^uint32(4095), true},
	} {
		told := false
		r := &ruleReader{hostPIDs: c.first, matters: true, cfg: Config{
			Own:   func(pid int) bool { return pid == own },
			Rules: func(Process) { told = true },
		}}
		m := message{Data: make([]byte, 4)}
		m.Header.Type, m.Header.Pid = unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN, c.address
		if c.pid != 0 {
			m.Data = append(m.Data, nl.NewRtAttr(attrProcPID, nl.BEUint32Attr(c.pid)).Serialize()...)
		}
		r.handle(m)
		if told != c.told {
			t.Errorf("%+v: told %t", c, told)
		}
	}
}
