package nftables

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/spoof"
)

// drawn is a frame with IPv4, or with what looks like it: each part is right or not, by itself.
type drawn struct {
	tags    []uint16 // the types of its tags
	kind    uint16   // the type, or a length (IEEE 802.3)
	snap    bool     // LLC and SNAP are ahead of the packet
	mac     model.MAC
	from    string
	proto   byte
	frag    uint16
	options int // how many words the header has beyond five; negative: it lies
	excess  int // how many bytes more the header tells than there are
	sport   uint16
	dport   uint16
	cut     int // how many bytes of all that is behind the addresses and tags are there
}

func drawFrame(t *rapid.T) (d drawn) {
	usually := func(what string, usual uint16, others ...uint16) uint16 {
		return rapid.SampledFrom(append([]uint16{usual, usual, usual, usual}, others...)).Draw(t, what)
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "tags") {
		d.tags = append(d.tags, rapid.SampledFrom([]uint16{0x8100, 0x88a8}).Draw(t, "tag"))
	}
	d.kind = usually("kind", 0x800, 0x88b5, 40)
	d.snap = d.kind == 40 && rapid.Bool().Draw(t, "snap")
	d.mac = rapid.SampledFrom([]model.MAC{macEve, macEve, macEve, macVRRP, macHost}).Draw(t, "mac")
	d.from = rapid.SampledFrom([]string{evesAddr, evesAddr, evesAddr, bensAddr, "0.0.0.0", "10.244.1.7"}).Draw(t, "from")
	d.proto = rapid.SampledFrom([]byte{17, 17, 17, 6, 2, 136}).Draw(t, "proto")
	d.frag = usually("frag", 0, 0x2000, 1, 0x2001, 0x4000)
	d.options = rapid.SampledFrom([]int{0, 0, 0, 1, 10, -1, -5}).Draw(t, "options")
	d.excess = rapid.SampledFrom([]int{0, 0, 0, 0, 1, 200, -9, -30}).Draw(t, "excess")
	d.sport, d.dport = usually("sport", 7, 67, 68), usually("dport", 7, 67, 68)
	d.cut = rapid.SampledFrom([]int{1000, 1000, 1000, 1, 9, 10, 16, 20, 21, 22, 23, 24}).Draw(t, "cut")
	return d
}

// packet is what the frame carries.
func (d drawn) packet() []byte {
	body := udp(d.sport, d.dport, []byte("12345678"))
	b := ip4(d.from, bensAddr, d.proto, d.frag, append(make([]byte, 4*max(0, d.options)), body...))
	b[0] = 0x40 | byte(5+d.options)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+d.excess))
	return b[:min(len(b), d.cut)]
}

// bytes is the frame; it is told by whom it is for, as it may end anywhere.
func (d drawn) bytes(to model.MAC) []byte {
	b := append(append([]byte{}, to[:]...), d.mac[:]...)
	for _, tag := range d.tags {
		b = append(binary.BigEndian.AppendUint16(b, tag), 0, 5)
	}
	b = binary.BigEndian.AppendUint16(b, d.kind)
	if d.snap {
		b = append(b, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0)
	}
	return append(b, d.packet()...)
}

// may reports whether a port may send the frame, as docs/policy.md says it.
func (d drawn) may(p spoof.Port) bool {
	if len(d.tags) > 1 || d.kind != 0x800 || d.mac != p.MAC && !slices.Contains(p.More.HardwareAddresses(), d.mac) {
		return false
	}
	b := d.packet()
	if len(b) < 16 { // it has no address
		return false
	}
	header, told := 4*(5+d.options), int(binary.BigEndian.Uint16(b[2:]))
	valid := header >= 20 && len(b) >= 20 && told >= header && len(b) >= told
	port := func(at int) uint16 { // a later fragment has none, and nobody reads a header that lies
		if !valid || d.frag&0x1fff != 0 || d.proto != unix.IPPROTO_UDP || len(b) < header+at+2 {
			return 0
		}
		return binary.BigEndian.Uint16(b[header+at:])
	}
	if (port(0) == 67 || port(2) == 68) && !p.More.Trusts(model.TrustDHCP) {
		return false
	}
	from := netip.MustParseAddr(d.from)
	for _, prefix := range p.More.Prefixes() {
		if prefix.Contains(from) {
			return true
		}
	}
	return from == p.V4 || from.IsUnspecified() && d.frag&0x1fff == 0 && (port(2) == 67 || valid && d.proto == unix.IPPROTO_IGMP)
}

// drawn6 is a frame with IPv6 likewise.
type drawn6 struct {
	mac          model.MAC
	from         string
	label        uint16 // of the flow
	proto        byte
	headers      string // what is between IPv6 and the protocol
	sport, dport uint16
}

func drawFrame6(t *rapid.T) drawn6 {
	port := rapid.SampledFrom([]uint16{7, 7, 546, 547})
	return drawn6{
		mac:     rapid.SampledFrom([]model.MAC{macEve, macEve, macEve, macVRRP, macHost}).Draw(t, "mac"),
		from:    rapid.SampledFrom([]string{evesAddr6, evesAddr6, evesLocal, bensAddr6, "::", "fd00:244::7"}).Draw(t, "from"),
		label:   port.Draw(t, "label"),
		proto:   rapid.SampledFrom([]byte{17, 17, 17, 6, 58, 136}).Draw(t, "proto"),
		headers: rapid.SampledFrom([]string{"", "", "options", "first", "later", "later options", "options later", "atomic"}).Draw(t, "headers"),
		sport:   port.Draw(t, "sport"),
		dport:   port.Draw(t, "dport"),
	}
}

func (d drawn6) bytes(to model.MAC) []byte {
	body, next := udp(d.sport, d.dport, []byte("12345678")), d.proto
	if d.proto == unix.IPPROTO_ICMPV6 {
		body = []byte{128, 0, 0, 0, 0, 1, 0, 1}
	}
	switch d.headers {
	case "options":
		next, body = 60, extension(next, body)
	case "first":
		next, body = 44, fragment6(next, 0, true, body)
	case "later":
		next, body = 44, fragment6(next, 1, false, body)
	case "later options":
		next, body = 44, fragment6(60, 1, false, extension(next, body))
	case "options later":
		next, body = 60, extension(44, fragment6(next, 1, false, body))
	case "atomic":
		next, body = 44, fragment6(next, 0, false, body)
	}
	return ether(to, d.mac, 0x86dd, labelled(d.label, ip6(d.from, bensAddr6, next, body)))
}

// may reports whether a port may send the frame, as docs/policy.md says it.
func (d drawn6) may(p spoof.Port) bool {
	later := strings.Contains(d.headers, "later")
	dhcp := !later && d.proto == unix.IPPROTO_UDP && (d.sport == 547 || d.dport == 546)
	if d.headers == "later options" || dhcp && !p.More.Trusts(model.TrustDHCP) {
		return false
	}
	from := netip.MustParseAddr(d.from)
	if d.mac != p.MAC && !slices.Contains(p.More.HardwareAddresses(), d.mac) {
		return false
	}
	return from == p.V6 || from == spoof.LinkLocal(d.mac) || slices.ContainsFunc(p.More.Prefixes(), func(f netip.Prefix) bool { return f.Contains(from) })
}

// Of frames that are right or not in each of their parts what passes is what the endpoint may send,
// on whichever way through the chains, and nothing else.
func TestSpoofDrawn(t *testing.T) {
	s := newSegment(t)
	var have *spoof.Set
	rapid.Check(t, func(r *rapid.T) {
		pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(r, what) }
		port := evesPort(model.Spoof{
			Addresses: pick("addresses", "", "10.244.0.0/16,fd00:244::/48", "0.0.0.0/0,::/0"),
			MACs:      pick("macs", "", macVRRP.String()),
			Trusted:   pick("trusted", "", "", model.TrustDHCP),
		})
		want := spoof.Set{Ports: []spoof.Port{port}}
		s.apply(have, want)
		have = &want
		var frames []sent
		for _, d := range rapid.SliceOfN(rapid.Custom(drawFrame), 60, 60).Draw(r, "frames") {
			frames = append(frames, d)
		}
		for _, d := range rapid.SliceOfN(rapid.Custom(drawFrame6), 60, 60).Draw(r, "frames of IPv6") {
			frames = append(frames, d)
		}
		came := s.cameOf(frames)
		for i, d := range frames {
			if may := d.may(port); came[i] != may {
				r.Errorf("with %+v it may pass: %t, and it came: %t: %+v", port.More, may, came[i], d)
			}
		}
	})
}

// sent is a frame, and who may send it.
type sent interface {
	bytes(to model.MAC) []byte
	may(spoof.Port) bool
}

// cameOf sends frames, each to an address that nobody has, and one behind them that arrives; it
// reports which ben has got.
func (s *segment) cameOf(frames []sent) (came []bool) {
	s.Helper()
	to := func(i int) model.MAC { return model.MAC{2, 0x99, 0, 0, byte(i >> 8), byte(i)} }
	end := drawn{kind: 0x800, mac: macEve, from: evesAddr, proto: unix.IPPROTO_UDP, sport: 7, dport: 7, cut: 1000}
	for i, d := range append(slices.Clone(frames), sent(end)) {
		if _, err := unix.Write(s.tx, d.bytes(to(i))); err != nil {
			s.Fatal(err)
		}
	}
	came = make([]bool, len(frames)+1)
	b := make([]byte, 2048)
	nettest.Eventually(s, 5*time.Second, func() error {
		for {
			if _, err := unix.Read(s.rx, b); err != nil {
				break
			}
			if i := int(binary.BigEndian.Uint16(b[4:])); i < len(came) && model.MAC(b[:6]) == to(i) {
				came[i] = true
			}
		}
		if !came[len(frames)] {
			return errors.New("the last one has not arrived")
		}
		return nil
	})
	return came[:len(frames)]
}
