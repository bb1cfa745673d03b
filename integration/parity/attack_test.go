package parity

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// shot is a packet of an attack: how "guest send" is told to make it, and how it is
// recognized where it arrives, whatever was done to its addresses and its destination
// port.
type shot struct {
	name, flags string
	mark        func(report.Packet) bool
}

// port marks TCP and UDP packets by their source port.
func port(proto string, number uint16) func(report.Packet) bool {
	return func(p report.Packet) bool { return p.Proto == proto && p.SrcPort == number }
}

func kind(proto string, number int) func(report.Packet) bool {
	return func(p report.Packet) bool { return p.Proto == proto && p.Type == number }
}

func other(proto string) func(report.Packet) bool {
	return func(p report.Packet) bool { return p.Proto == proto }
}

// shots is what attackers send to an address, of either family. Ports 80 are open where
// a scenario opens any.
func shots(six bool) []shot {
	out := []shot{
		{"TCP SYN to 80", "-proto tcp -sport 21001 -dport 80", port("tcp", 21001)},
		{"TCP SYN to 81", "-proto tcp -sport 21002 -dport 81", port("tcp", 21002)},
		{"TCP ACK", "-proto tcp -sport 21003 -dport 80 -flags A", port("tcp", 21003)},
		{"TCP SYN and ACK", "-proto tcp -sport 21004 -dport 81 -flags SA", port("tcp", 21004)},
		{"TCP RST", "-proto tcp -sport 21005 -dport 81 -flags R", port("tcp", 21005)},
		{"TCP without flags", "-proto tcp -sport 21006 -dport 81 -flags=", port("tcp", 21006)},
		{"UDP to 80", "-proto udp -sport 21007 -dport 80", port("udp", 21007)},
		{"UDP as a name server's", "-proto udp -sport 53 -dport 40001", port("udp", 53)},
		{"SCTP INIT", "-proto sctp", other("132")},
		{"GRE", "-proto 47", other("47")},
		{"an unknown protocol", "-proto 253", other("253")},
	}
	if six {
		return append(out,
			shot{"echo request", "-proto icmp -dport 128", kind("icmp6", 128)},
			shot{"echo reply", "-proto icmp -dport 129", kind("icmp6", 129)})
	}
	return append(out,
		shot{"echo request", "-proto icmp -dport 8", kind("icmp", 8)},
		shot{"echo reply", "-proto icmp -dport 0", kind("icmp", 0)},
		shot{"timestamp request", "-proto icmp -dport 13", kind("icmp", 13)},
		shot{"a second fragment", "-proto 252 -fragment 8", other("252")})
}

// attack is who sends packets to which address with which source, and who might get
// them. Braces are as for probes.
type attack struct {
	from, at string
	dst      string // "": at's address
	src      string // "": from's own, of the family of dst
	link     string // send it out of this link of from's, past its routes…
	mac      string // …to this station
	shots    []shot // nil: shots
	closer   string // who sends the last packet, which must arrive; "": host
}

// last is the source port of the packet that ends an attack.
const last = 9999

// field is where attacks happen while no container comes or goes: what was found out
// once is true for all.
type field struct {
	*stage
	places map[string]*world.Place
	known  map[string]string // texts with braces → without
	scene  *scene            // what packets are predicted from; nil: none are
}

// attacks carries attacks out one after the other. The facts tell of each packet whether
// it arrives, and from whom it then seems to be.
func (s *stage) attacks(list ...attack) {
	f := field{stage: s, places: map[string]*world.Place{}, known: map[string]string{}, scene: s.oracle.scene()}
	for _, a := range list {
		f.attack(a)
	}
}

// place and resolveAddr ask Docker once.
func (f field) place(name string) *world.Place {
	if _, ok := f.places[name]; !ok {
		f.places[name] = f.stage.place(name)
	}
	return f.places[name]
}

func (f field) resolveAddr(text string) (string, error) {
	if known, ok := f.known[text]; ok {
		return known, nil
	}
	value, err := f.stage.resolveAddr(text)
	if err == nil {
		f.known[text] = value
	}
	return value, err
}

func (f field) attack(a attack) {
	what := "attack " + a.from + " → " + a.at
	if a.dst != "" {
		what += " by " + a.dst
	}
	if a.src != "" {
		what += " as " + a.src
	}
	if a.link != "" {
		what += " through " + a.mac
	}
	from, at := f.place(a.from), f.place(a.at)
	if from == nil || at == nil {
		f.fact(what, a.from+" or "+a.at+" doesn't run")
		return
	}
	src, dst, mac, err := f.aim(a)
	if err != nil {
		f.fact(what, err.Error())
		return
	}
	list := a.shots
	if list == nil {
		list = shots(dst.Is6())
	}
	argv := []string{"guest", "send"}
	for _, one := range list {
		argv = append(argv, "-src", src)
		if a.link != "" {
			argv = append(argv, "-link", a.link, "-mac", mac)
		}
		argv = append(append(argv, strings.Fields(one.flags)...), dst.String(), ",")
	}
	wire := at.Sniff("eth0")
	sent := from.Run(argv...)
	f.fact(what+": sent", fmt.Sprintf("%s of %d", sent, len(list)))
	seen := f.until(wire, a)
	wire.Stop()
	for _, one := range list {
		value, from := "stopped", netip.Addr{}
		for _, p := range seen {
			if one.mark(p) && f.meant(p, at, dst) {
				value, from = "arrives from "+normal(p.Src.String()), p.Src
				break
			}
		}
		f.fact(what+": "+one.name, value)
		f.foresee(a, one, src, dst, what+": "+one.name, from)
	}
}

// aim resolves an attack's addresses.
func (f field) aim(a attack) (src string, dst netip.Addr, mac string, err error) {
	text := a.dst
	if text == "" {
		text = f.home(a.at, false)
	}
	if text, err = f.resolveAddr(text); err != nil {
		return
	}
	if dst, err = netip.ParseAddr(text); err != nil {
		return
	}
	text = a.src
	if text == "" {
		text = f.home(a.from, dst.Is6())
	}
	if src, err = f.resolveAddr(text); err != nil {
		return
	}
	mac, err = f.resolveAddr(a.mac)
	return
}

// home is a place's own address, with braces if it is a container.
func (f field) home(place string, six bool) string {
	fixed := map[string][2]string{"lan": {world.LANAddr, world.LANAddr6}, "lan2": {"192.0.2.10", "2001:db8::10"}, "host": {world.HostAddr, world.HostAddr6}}
	switch known, ok := fixed[place]; {
	case ok && six:
		return known[1]
	case ok:
		return known[0]
	case six:
		return "{" + place + "6}"
	}
	return "{" + place + "}"
}

// meant tells whether a packet on at's link is on its way to at.
func (f field) meant(p report.Packet, at *world.Place, dst netip.Addr) bool {
	return p.Dst == dst.WithZone("") || slices.ContainsFunc(at.Addrs(), func(a report.Address) bool { return a.Prefix.Addr() == p.Dst })
}

// until lets a last packet through, waits for it, and gives all that were seen.
func (f field) until(wire *world.Sniffer, a attack) []report.Packet {
	closer := a.closer
	if closer == "" {
		closer = "host"
	}
	dst, err := f.resolveAddr(f.home(a.at, false))
	if err != nil {
		dst, err = f.resolveAddr(f.home(a.at, true))
	}
	if err != nil {
		f.t.Fatalf("attack: %s: %v", a.at, err)
	}
	src, err := f.resolveAddr(f.home(closer, strings.Contains(dst, ":")))
	if err != nil {
		f.t.Fatalf("attack: %s: %v", closer, err)
	}
	f.place(closer).Run("guest", "send", "-src", src, "-sport", fmt.Sprint(last), "-dport", "9", dst)
	wire.Want("last packet", func(p report.Packet) bool { return p.SrcPort == last })
	return wire.Packets()
}

// station is the MAC address of a link, found as linkOf finds it.
func (s *stage) station(place, link string) (string, error) {
	_, l, err := s.linkOf(place, link)
	return l.MAC, err
}
