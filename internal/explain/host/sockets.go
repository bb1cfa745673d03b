package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/dump"
	"github.com/mybr/mybr/internal/explain"
)

// What is asked of sock_diag(7): linux/sock_diag.h and linux/inet_diag.h.
const (
	sockDiagByFamily = 20
	diagRequestSize  = 56
	diagMessageSize  = 72
	diagV6Only       = 11 // INET_DIAG_SKV6ONLY
	stateClose       = 7  // of UDP: bound, and not connected
	stateListen      = 10
)

// diagRequest is struct inet_diag_req_v2 for every socket of a kind.
type diagRequest struct{ family, proto, state uint8 }

func (r diagRequest) Len() int { return diagRequestSize }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, diagRequestSize)
	b[0], b[1] = r.family, r.proto
	binary.NativeEndian.PutUint32(b[4:], 1<<r.state)
	return b
}

func readSockets(s *explain.Space) error {
	for _, r := range []diagRequest{
		{unix.AF_INET, unix.IPPROTO_TCP, stateListen}, {unix.AF_INET6, unix.IPPROTO_TCP, stateListen},
		{unix.AF_INET, unix.IPPROTO_UDP, stateClose}, {unix.AF_INET6, unix.IPPROTO_UDP, stateClose},
	} {
		msgs, err := dump.Whole(func() ([][]byte, error) {
			req := nl.NewNetlinkRequest(sockDiagByFamily, unix.NLM_F_DUMP)
			req.AddData(r)
			return req.Execute(unix.NETLINK_INET_DIAG, 0)
		})
		if errors.Is(err, unix.ENOENT) && r.family == unix.AF_INET6 {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("list sockets: %w", err)
		}
		for _, m := range msgs {
			one, err := parseSocket(r, m)
			if err != nil {
				return fmt.Errorf("list sockets: %w", err)
			}
			s.Sockets = append(s.Sockets, one)
		}
	}
	return nil
}

// parseSocket reads a struct inet_diag_msg: family, state, timer, retrans, then
// the struct inet_diag_sockid: ports, addresses, link; its attributes follow at the end.
func parseSocket(r diagRequest, m []byte) (s explain.Socket, err error) {
	if len(m) < diagMessageSize {
		return s, fmt.Errorf("a message of %d bytes", len(m))
	}
	s.Proto = explain.TCP
	if r.proto == unix.IPPROTO_UDP {
		s.Proto = explain.UDP
	}
	s.Port = binary.BigEndian.Uint16(m[4:])
	if r.family == unix.AF_INET {
		s.Addr = netip.AddrFrom4([4]byte(m[8:12]))
	} else {
		s.Addr = netip.AddrFrom16([16]byte(m[8:24]))
	}
	s.Link = int(binary.NativeEndian.Uint32(m[40:]))
	attrs, err := nl.ParseRouteAttr(m[diagMessageSize:])
	for _, a := range attrs {
		if a.Attr.Type == diagV6Only && len(a.Value) > 0 {
			s.V6Only = a.Value[0] != 0
		}
	}
	return s, err
}
