package parity

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/explain"
)

// foresee compares whether a packet of an attack has arrived, and from whom (zero: it has
// not), with what is predicted.
func (f field) foresee(a attack, one shot, src string, dst netip.Addr, key string, from netip.Addr) {
	if f.scene == nil {
		return
	}
	q, ok := f.question(a, one, src, dst)
	if !ok {
		return
	}
	at := f.scene.same[a.at]
	f.oracle.arrival(key, f.oracle.ask(f.scene, f.scene.whole, q), at, from)
	if strings.HasPrefix(a.from, "lan") && !strings.HasPrefix(a.at, "lan") {
		q.From, q.In = "", "eth0"
		f.oracle.arrival(key+", without the LAN", f.oracle.ask(f.scene, f.scene.alone, q), at, from)
	}
}

// question is a packet of an attack as a query. Package explain can be asked about the first
// packet of a flow, with any source, that goes by its sender's routes, or that comes to the
// host by a link: not about one of another connection, nor about one that is sent past the
// host, to a station's MAC address.
func (f field) question(a attack, one shot, src string, dst netip.Addr) (q explain.Query, ok bool) {
	if q, ok = one.query(); !ok {
		return q, false
	}
	var err error
	if q.Src, err = netip.ParseAddr(src); err != nil {
		return q, false
	}
	q.Dst = dst
	if a.link == "" {
		q.From = f.scene.same[a.from]
		return q, true
	}
	name, ok := strings.CutPrefix(a.mac, "{mac host ")
	if !ok {
		return q, false
	}
	_, l, err := f.linkOf("host", strings.TrimSuffix(name, "}"))
	q.In = l.Name
	return q, err == nil
}

// query is the protocol and the ports of the first packet of a flow; of others ok is false.
func (one shot) query() (q explain.Query, ok bool) {
	words := strings.Fields(one.flags)
	q.Sport, q.Dport = 40000, 80 // as "guest send" has it
	for i := 0; i+1 < len(words); i += 2 {
		switch words[i] {
		case "-proto":
			q.Proto = words[i+1]
		case "-sport", "-dport":
			n, err := strconv.ParseUint(words[i+1], 10, 16)
			if err != nil {
				return q, false
			}
			if words[i] == "-sport" {
				q.Sport = uint16(n)
			} else {
				q.Dport = uint16(n)
			}
		default:
			return q, false
		}
	}
	switch q.Proto {
	case explain.TCP, explain.UDP, explain.SCTP:
		return q, len(words)%2 == 0
	case explain.ICMP: // an echo request (RFC 792, RFC 4443)
		ok = q.Dport == 8 || q.Dport == 128
		q.Sport, q.Dport = 0, 0
	}
	return q, ok
}

// arrival judges a prediction by whether the packet has arrived at a place. What a process
// carries on is another packet.
func (o *oracle) arrival(key string, r explain.Result, at string, from netip.Addr) {
	var predicted netip.Addr
	for _, s := range r.Steps {
		if s.Back || s.Kind == explain.AtSocket {
			break
		}
		if s.Kind == explain.AtLink && s.Space == at {
			predicted = sourceOf(s.Packet)
		}
	}
	words := func(a netip.Addr) string {
		if !a.IsValid() {
			return "stopped"
		}
		return "arrives from " + a.String()
	}
	mistake := ""
	switch {
	case predicted.IsValid():
		r.Verdict = explain.Delivered // as far as it is asked for here
	case r.Verdict != explain.Unknown:
		r.Verdict = explain.Dropped
	}
	if r.Verdict != explain.Unknown && predicted != from.WithZone("") {
		mistake = fmt.Sprintf("predicted %s (%s), and it %s", words(predicted), r.Reason, words(from))
	}
	o.judge(key, r, mistake)
}

// sourceOf is the source of a packet as package explain writes it: PROTO SOURCE → DESTINATION,
// with ports or without.
func sourceOf(packet string) netip.Addr {
	words := strings.Fields(packet)
	if len(words) < 2 {
		return netip.Addr{}
	}
	if ap, err := netip.ParseAddrPort(words[1]); err == nil {
		return ap.Addr().WithZone("")
	}
	a, err := netip.ParseAddr(words[1])
	if err != nil {
		return netip.Addr{}
	}
	return a.WithZone("")
}
