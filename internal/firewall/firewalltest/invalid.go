package firewalltest

import (
	"encoding/binary"
	"net"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// reset is the flag that makes a TCP segment of no known connection INVALID to conntrack
// (nf_conntrack_proto_tcp.c, tcp_conntracks); with syn it would be a new connection.
const (
	reset = 0x04
	syn   = 0x02
)

// probePort is the port that a segment is sent from and to; nothing listens there. Segments
// of different flags are of different connections.
func probePort(flags byte) uint16 { return 4242 + uint16(flags) }

// segment sends a TCP segment of its own making and reports whether, and from which
// address, it arrives in time.
func (w *World) segment(from, to string, flags byte, timeout time.Duration) (client string) {
	w.T.Helper()
	network := "ip4:tcp"
	if w.Stand.IP == model.IPv6 {
		network = "ip6:tcp"
	}
	l := w.Hosts[to].ListenPacket(network, w.Stand.In("0.0.0.0"))
	defer l.Close()
	c := w.Hosts[from].ListenPacket(network, w.Stand.In(Address(from)))
	defer c.Close()
	src, dst := net.ParseIP(w.Stand.In(Address(from))), net.ParseIP(w.Stand.In(Address(to)))
	if _, err := c.WriteTo(tcpSegment(src, dst, flags), &net.IPAddr{IP: dst}); err != nil {
		w.T.Fatal(err)
	}
	_ = l.SetReadDeadline(time.Now().Add(timeout))
	for got := make([]byte, 1500); ; {
		n, by, err := l.ReadFrom(got)
		if err != nil {
			return ""
		}
		if n >= 20 && binary.BigEndian.Uint16(got[2:]) == probePort(flags) && got[13] == flags {
			return by.String()
		}
	}
}

// tcpSegment is a TCP header without options and data (RFC 9293, section 3.1).
func tcpSegment(src, dst net.IP, flags byte) []byte {
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h[0:], probePort(flags))
	binary.BigEndian.PutUint16(h[2:], probePort(flags))
	binary.BigEndian.PutUint32(h[4:], 1)
	h[12], h[13] = 5<<4, flags
	binary.BigEndian.PutUint16(h[14:], 1024)
	pseudo := append(append([]byte{}, src.To16()...), dst.To16()...)
	if v4 := src.To4(); v4 != nil {
		pseudo = append(append([]byte{}, v4...), dst.To4()...)
	}
	sum := uint32(len(h)) + uint32(model.TCP)
	for _, part := range [][]byte{pseudo, h} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(h[16:], ^uint16(sum))
	return h
}

// Nothing leaves a masqueraded network with a container's own address: what conntrack
// knows no connection of, and so is not translated, is dropped, whatever accepts it.
func invalidDoesNotLeave(w *World) {
	w.acceptByDefault()
	own, host := w.Stand.In(Address("a")), w.Stand.In(lanHost)
	p := w.Policy(nil)
	w.Apply(p)
	if got := w.segment("a", "lan", syn, 5*time.Second); got != host {
		w.T.Errorf("a new connection comes from %q", got)
	}
	for what, to := range map[string]string{"the LAN": "lan", "another network": "c"} {
		if got := w.segment("a", to, reset, 300*time.Millisecond); got != "" {
			w.T.Errorf("a segment of no connection arrives in %s from %q", what, got)
		}
	}
	// A routed network lets in what is listed, and that is no way out of another one.
	routed := w.Policy(nil)
	routed.Networks[1].V4.Direct, routed.Networks[1].V6.Direct = firewall.DirectRouted, firewall.DirectRouted
	routed.Openings = Dual(firewall.Policy{Openings: []firewall.Opening{Opening("tcp 172.19.0.2", probePort(reset), 1, "")}}).Openings
	w.Apply(routed)
	if got := w.segment("a", "c", reset, 300*time.Millisecond); got != "" {
		w.T.Errorf("a segment of no connection arrives in a routed network from %q", got)
	}
	if got := w.segment("lan", "c", reset, 5*time.Second); got != w.Stand.In(Address("lan")) {
		w.T.Errorf("from the LAN it arrives in a routed network from %q", got)
	}
	// Where addresses are not translated, nothing is dropped.
	plain := w.Policy(func(n *firewall.Network) { n.V4.Masquerade = false })
	w.Apply(plain)
	if got := w.segment("a", "lan", reset, 5*time.Second); got != own {
		w.T.Errorf("without masquerading it arrives from %q", got)
	}
}
