package host

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// nativeRules draws what nft -f takes: a table of the family, or one of both, whose chains are
// before or behind those of iptables.
func nativeRules(r *rand.Rand, v6 bool) string {
	pick := func(some ...string) string { return some[r.IntN(len(some))] }
	in := func(a string) string {
		if v6 {
			return six(a)
		}
		return a
	}
	ip := map[bool]string{false: "ip", true: "ip6"}[v6]
	// Which of two chains of the same priority comes first, nobody knows.
	at := func(some ...int) string {
		n := some[r.IntN(len(some))]
		switch {
		case v6 && n < -100 && n != -199:
			n -= 3
		case v6:
			n += 3
		}
		return fmt.Sprint(n)
	}
	table := pick(ip, "inet") + " fate" + ip
	own := map[bool]string{false: "ip protocol tcp", true: "ip6 nexthdr tcp"}[v6]
	if strings.HasPrefix(table, "inet") {
		own = map[bool]string{false: "meta nfproto ipv4", true: "meta nfproto ipv6"}[v6]
	}
	addresses := []string{"172.18.0.2", "172.18.0.3", "172.19.0.2", "192.0.2.1", "192.0.2.2", "172.18.0.0/16", "172.19.0.0/16"}
	not := func() string { return pick("", "", "", "!= ") }
	condition := func(hook string) string {
		var b strings.Builder
		for range r.IntN(3) {
			b.WriteString(pick(
				ip+" saddr "+not()+in(pick(addresses...)),
				ip+" daddr "+not()+in(pick(addresses...)),
				ip+" daddr "+not()+"{ "+in("172.18.0.2")+", "+in("172.19.0.0/16")+" }",
				"iifname "+not()+pick("br0", "br1", "eth0", "\"br*\"", "lo"),
				"oifname "+not()+pick("br0", "br1", "eth0", "\"br*\"", "lo"),
				"iifname . oifname { \"br0\" . \"br0\", \"br0\" . \"br1\", \"eth0\" . \"br0\" }",
				"tcp dport "+not()+pick("80", "81", "8080", "80-90", "{ 80, 82-90 }"),
				"tcp dport "+pick(">", "<=")+" 80",
				"meta l4proto . th dport @ports",
				ip+" daddr . tcp dport @served",
				"ct state "+pick("established,related", "new", "invalid", "{ new, established }", "!= established"),
				"ct status "+pick("dnat", "snat", "dnat,snat"),
				"ct direction "+pick("original", "reply"),
				"fib "+pick("daddr", "saddr")+" type "+not()+"local",
				"meta mark & 0x00000003 == 0x00000001", "meta mark 0x1", "ct mark 0x2",
				"tcp flags & (syn | ack) == syn", "tcp flags syn / syn,ack", "meta pkttype host", own,
				"ct original "+ip+" daddr "+in(pick(addresses...)),
			) + " ")
		}
		return b.String()
	}
	verdict := func(chain string) string {
		if chain == "n2" {
			return pick("accept", "drop", "return", "reject", "continue", "")
		}
		to := []string{"accept", "accept", "drop", "return", "reject", "meta l4proto tcp reject with tcp reset", "counter", "meta mark set meta mark | 0x1",
			"meta mark set meta mark & 0xfffffffe", "ct mark set 0x2", "jump n2", "goto n2", "iifname vmap @links", "ct state vmap { new : accept, established : jump n2 }"}
		if chain != "n1" {
			to = append(to, "jump n1", "goto n1")
		}
		return pick(to...)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table %s {\n set ports { type inet_proto . inet_service; flags interval; elements = { tcp . 80, tcp . 8080-8090 } }\n", table)
	fmt.Fprintf(&b, " set served { type %s . inet_service; elements = { %s . 80, %s . 81 } }\n", map[bool]string{false: "ipv4_addr", true: "ipv6_addr"}[v6], in("172.18.0.2"), in("172.19.0.2"))
	fmt.Fprintf(&b, " map dests { type inet_proto . inet_service : %s . inet_service; elements = { tcp . 8080 : %s . %s } }\n",
		map[bool]string{false: "ipv4_addr", true: "ipv6_addr"}[v6], in(pick("172.18.0.2", "172.18.0.3", "172.19.0.2")), pick("80", "81"))
	fmt.Fprintf(&b, " chain n2 {\n}\n chain n1 {\n}\n map links { type ifname : verdict; elements = { \"br0\" : %s, \"eth0\" : %s } }\n}\n", pick("jump n2", "accept", "drop", "goto n2"), pick("return", "accept", "goto n2"))
	fmt.Fprintf(&b, "table %s {\n", table)
	for _, hook := range []string{"input", "forward", "output"} {
		fmt.Fprintf(&b, " chain f-%s {\n type filter hook %[1]s priority %s; policy %s;\n", hook, at(-199, -120, -1, 1, 60), pick("accept", "accept", "accept", "drop"))
		if v6 && hook != "forward" {
			b.WriteString("  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n")
		}
		b.WriteString(pick("", "  ct state established,related accept\n"))
		for range r.IntN(4) {
			b.WriteString("  " + condition(hook) + verdict("") + "\n")
		}
		b.WriteString(" }\n")
	}
	for _, chain := range []string{"n1", "n2"} {
		fmt.Fprintf(&b, " chain %s {\n", chain)
		for range r.IntN(3) {
			b.WriteString("  " + condition("") + verdict(chain) + "\n")
		}
		b.WriteString(" }\n")
	}
	for _, hook := range []string{"prerouting", "output"} {
		fmt.Fprintf(&b, " chain t-%s {\n type nat hook %[1]s priority %s;\n", hook, at(-101, -99))
		for range r.IntN(3) {
			b.WriteString("  " + pick("fib daddr type local ", ip+" daddr "+in("192.0.2.1")+" ", "") + pick("dnat "+ip+" to meta l4proto . th dport map @dests",
				"tcp dport 8080 dnat "+ip+" to "+in(pick("172.18.0.2", "172.18.0.3"))+" ", "tcp dport 8080 redirect to :80") + "\n")
		}
		b.WriteString(" }\n")
	}
	fmt.Fprintf(&b, " chain t-postrouting {\n type nat hook postrouting priority %s;\n", at(99, 101))
	for range r.IntN(3) {
		b.WriteString("  " + pick(ip+" saddr "+in("172.18.0.0/16")+" oifname != br0 ", ip+" saddr . oifname { "+in("172.18.0.2")+" . \"br0\", "+in("172.18.0.3")+" . \"eth0\" } ", "ct status dnat ", condition("postrouting")) +
			pick("masquerade", "snat "+ip+" to "+in("192.0.2.1"), "accept") + "\n")
	}
	b.WriteString(" }\n}\n")
	return b.String()
}
