package host

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/dump"
	"github.com/mybr/mybr/internal/explain"
)

// What a rule says, where that is no kind of route (linux/fib_rules.h).
const (
	actTable = 1
	actGoto  = 2
	actNop   = 3
)

// readPolicies reads the rules of ip-rule(8). netlink.RuleList leaves out what they say.
func readPolicies(s *explain.Space) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		msgs, err := dump.Whole(func() ([][]byte, error) {
			req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
			req.AddData(nl.NewIfInfomsg(family))
			return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
		})
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no IPv6, or no policy routing
		}
		if err != nil {
			return fmt.Errorf("list ip rules: %w", err)
		}
		var some []explain.Policy
		for _, m := range msgs {
			one, err := parsePolicy(m)
			if err != nil {
				return fmt.Errorf("list ip rules: %w", err)
			}
			some = append(some, one)
		}
		slices.SortStableFunc(some, func(a, b explain.Policy) int { return cmp.Compare(a.Priority, b.Priority) })
		s.Policies = append(s.Policies, some...)
	}
	return nil
}

// parsePolicy reads a struct fib_rule_hdr, which is laid out as a struct rtmsg, and its
// attributes. What isn't known of a rule is a condition that can't be told.
func parsePolicy(m []byte) (p explain.Policy, err error) {
	if len(m) < unix.SizeofRtMsg {
		return p, fmt.Errorf("a message of %d bytes", len(m))
	}
	h := nl.DeserializeRtMsg(m)
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofRtMsg:])
	if err != nil {
		return p, err
	}
	p = explain.Policy{Six: h.Family == unix.AF_INET6, Invert: h.Flags&netlink.FibRuleInvert != 0, Table: int(h.Table), Suppress: -1}
	if h.Tos != 0 {
		p.Unhandled = "a type of service"
	}
	for _, a := range attrs {
		number := func() uint32 {
			if len(a.Value) < 4 {
				err = fmt.Errorf("attribute %d of %d bytes", a.Attr.Type, len(a.Value))
				return 0
			}
			return binary.NativeEndian.Uint32(a.Value)
		}
		name := func() string { return string(bytes.TrimRight(a.Value, "\x00")) }
		switch a.Attr.Type {
		case nl.FRA_SRC:
			p.Src = prefixFrom(a.Value, h.Src_len)
		case nl.FRA_DST:
			p.Dst = prefixFrom(a.Value, h.Dst_len)
		case nl.FRA_IIFNAME:
			p.In = name()
		case nl.FRA_OIFNAME:
			p.Out = name()
		case nl.FRA_PRIORITY:
			p.Priority = int(number())
		case nl.FRA_FWMARK:
			p.Mark = number()
		case nl.FRA_FWMASK:
			p.Mask = number()
		case nl.FRA_TABLE:
			p.Table = int(number())
		case nl.FRA_SUPPRESS_PREFIXLEN:
			p.Suppress = int(int32(number()))
		case nl.FRA_GOTO:
			p.Goto = int(number())
		case nl.FRA_SUPPRESS_IFGROUP:
			if number() != 1<<32-1 {
				p.Unhandled = "a group of links"
			}
		case nl.FRA_IP_PROTO, nl.FRA_SPORT_RANGE, nl.FRA_DPORT_RANGE:
			p.Unhandled = "a protocol or a port"
		case nl.FRA_UID_RANGE:
			p.Unhandled = "a user"
		case nl.FRA_TUN_ID:
			if slices.ContainsFunc(a.Value, notZero) {
				p.Unhandled = "a tunnel"
			}
		case nl.FRA_L3MDEV:
			if slices.ContainsFunc(a.Value, notZero) {
				p.Unhandled = "a VRF"
			}
		case nl.FRA_FLOW, nl.FRA_PROTOCOL, nl.FRA_UNSPEC, nl.FRA_PAD: // a realm, and who has made it
		default:
			p.Unhandled = fmt.Sprintf("what is not known here (attribute %d)", a.Attr.Type)
		}
	}
	switch h.Type {
	case actTable:
	case actGoto:
		p.Kind = explain.Goto
	case actNop:
		p.Kind = explain.Nop
	default:
		p.Kind = routeKind(int(h.Type)) // the numbers of blackhole, unreachable and prohibit are those of routes
	}
	return p, err
}

func notZero(b byte) bool { return b != 0 }

func prefixFrom(address []byte, bits uint8) netip.Prefix {
	a, _ := netip.AddrFromSlice(address)
	return netip.PrefixFrom(a, int(bits))
}
