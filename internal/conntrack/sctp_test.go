package conntrack

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// sctpInit is a packet that begins an SCTP association (RFC 9260, sections 3.1 and 3.3.2).
func sctpInit(port uint16) []byte {
	p := []byte{0x10, 0x92, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // from port 4242
	binary.BigEndian.PutUint16(p[2:], port)
	p = append(p, 1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1) // INIT: tag 1, window 65536, one stream each way, TSN 1
	binary.LittleEndian.PutUint32(p[8:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	return p
}

// An association of SCTP that began while its port was not led to the container yet is
// forgotten, and one to another port is not.
func TestSCTPBegunEarly(t *testing.T) { inBoth(t, testSCTPBegunEarly) }

func testSCTPBegunEarly(t *testing.T, f testFamily) {
	h := nettest.New(t)
	lan := h.Peer("lan")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.1/24")}}, lan, nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.2/24")}})
	h.Run(f.command, "-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW") // turns tracking on
	to := netip.MustParseAddr(f.say("192.0.2.1"))
	lan.In(func() {
		var address unix.Sockaddr = &unix.SockaddrInet6{Addr: to.As16()}
		if to.Is4() {
			address = &unix.SockaddrInet4{Addr: to.As4()}
		}
		fd, err := unix.Socket(int(number(f.Family)), unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		for _, port := range []uint16{9000, 9001} {
			if err := unix.Sendto(fd, sctpInit(port), 0, address); err != nil {
				t.Fatal(err)
			}
		}
	})
	ports := func() map[uint16]bool {
		seen := map[uint16]bool{}
		for _, l := range f.tracked(t) {
			if l.proto == model.SCTP {
				seen[l.asked.Port()] = true
			}
		}
		return seen
	}
	nettest.Eventually(t, 5*time.Second, func() error {
		if seen := ports(); len(seen) != 2 {
			return fmt.Errorf("tracked are %v", seen)
		}
		return nil
	})
	apply(t, nil, Set{Bindings: []model.PortBinding{{Proto: model.SCTP, Count: 1,
		Host: netip.AddrPortFrom(f.Unspecified(), 9000), Container: netip.MustParseAddrPort(f.say("172.18.0.2:80"))}}})
	if seen := ports(); len(seen) != 1 || !seen[9001] {
		t.Errorf("tracked are %v, want 9001 alone", seen)
	}
}
