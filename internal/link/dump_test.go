package link

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// What the kernel refuses is an error, at once.
func TestRefusedDump(t *testing.T) {
	nettest.New(t)
	const unknown = 1 << 20 // no link has this number
	header := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	header.Index = unknown
	asked := 0
	_, err := dump(kernel{asked: func(*nl.NetlinkRequest) { asked++ }}, unix.RTM_GETADDR, unix.RTM_NEWADDR, header, parseAddress)
	if !errors.Is(err, unix.ENODEV) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// A message that can't be read is an error, and the answer is read to its end all the same.
func TestUnreadableDump(t *testing.T) {
	nettest.New(t)
	bad := errors.New("bad")
	n := 0
	links, err := dump(kernel{}, unix.RTM_GETLINK, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), func([]byte) (int, error) { n++; return 0, bad })
	if !errors.Is(err, bad) || links != nil || n != 1 {
		t.Errorf("%v behind %d messages: %v", links, n, err)
	}
}

func TestNumbered(t *testing.T) {
	text := func(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }
	for _, c := range []struct {
		message []byte
		want    error
	}{
		{text(0), nil}, {nil, nil}, {text(-int32(unix.ENODEV)), unix.ENODEV}, {text(-int32(unix.EINTR)), errInterrupted},
	} {
		if err := numbered(c.message); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.message, err, c.want)
		}
	}
}

// No message of the kernel's, however short or wrong, ends the process.
func FuzzMessages(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, unix.SizeofNlMsghdr))
	name := nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("br0")).Serialize()
	f.Add(append(nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize(), name...))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, []byte("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil).AddRtAttr(nl.IFLA_BRPORT_MODE, nil)
	f.Add(append(nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize(), info.Serialize()...))
	families := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	families.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(2, make([]byte, 27*4))
	f.Add(append(nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize(), families.Serialize()...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			_, m, next, err := nextMessage(rest)
			if err != nil {
				break
			}
			if len(next) >= len(rest) {
				t.Fatal("no message was taken")
			}
			rest = next
			_ = numbered(m)
		}
		// They must return; what they make of it is the kernel's to say.
		_, _ = parseLink(b)
		_, _ = parseAddress(b)
		_, _ = parseRoute(b)
		_, _ = parseCounters(b)
	})
}
