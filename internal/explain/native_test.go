package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func noneSkipped(string, string) bool { return false }

// natives reads a table of the family inet with a base chain "c" at FORWARD, which has these
// rules in JSON, a set and two maps.
func natives(t *testing.T, policy string, rules ...string) []*Native {
	t.Helper()
	var b, text strings.Builder
	b.WriteString(`{"nftables": [{"metainfo": {"json_schema_version": 1}}, {"table": {"family": "inet", "name": "f", "handle": 1}},
{"map": {"family": "inet", "name": "v", "table": "f", "type": "ifname", "handle": 2, "map": "verdict", "elem": [["br-a", {"goto": {"target": "d"}}], ["eth0", {"drop": null}]]}},
{"set": {"family": "inet", "name": "s", "table": "f", "type": ["ipv4_addr", "inet_service"], "handle": 3, "flags": ["interval"], "elem": [{"concat": [{"prefix": {"addr": "192.0.2.0", "len": 24}}, {"range": [79, 81]}]}]}},
{"map": {"family": "inet", "name": "n", "table": "f", "type": ["inet_proto", "inet_service"], "handle": 4, "map": "ipv4_addr . inet_service",
 "elem": [[{"elem": {"val": {"concat": ["tcp", 80]}, "counter": {"packets": 3, "bytes": 180}}}, {"concat": ["172.18.0.9", 8080]}]], "stmt": [{"counter": null}]}},
`)
	fmt.Fprintf(&b, `{"chain": {"family": "inet", "table": "f", "name": "c", "handle": 5, "type": "filter", "hook": "forward", "prio": 0, "policy": %q}},
{"chain": {"family": "inet", "table": "f", "name": "d", "handle": 6}},
{"rule": {"family": "inet", "table": "f", "chain": "d", "handle": 7, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}, {"return": null}]}},
{"rule": {"family": "inet", "table": "f", "chain": "d", "handle": 8, "expr": [{"drop": null}]}}`, policy)
	// The rules ask for no family but for the one with the handle 10, which asks for IPv6.
	code := "inet f c 10\n  [ meta load nfproto => reg 1 ]\n  [ cmp eq reg 1 0x0000000a ]\n  [ reject type 1 code 0 ]\n\ninet f c 11 10\n  [ meta load l4proto => reg 1 ]\n  [ cmp eq reg 1 0x00000006 ]\n  [ reject type 1 code 0 ]\n"
	text.WriteString("table inet f { # handle 1\n\tchain c { # handle 5\n\t\ttype filter hook forward priority filter; policy accept;\n")
	for i, r := range rules {
		fmt.Fprintf(&b, ",\n"+`{"rule": {"family": "inet", "table": "f", "chain": "c", "handle": %d, "expr": [%s]}}`, 10+i, r)
		fmt.Fprintf(&text, "\t\tthe rule %d # handle %d\n", i+1, 10+i)
	}
	b.WriteString("]}\n" + `{"nftables": [{"table": {"family": "ip", "name": "another", "handle": 2}}]}`)
	text.WriteString("\t}\n}\n")
	all, err := ParseNative(Listed{JSON: b.String(), Text: text.String(), Code: code}, noneSkipped)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d tables, %v", len(all), err)
	}
	return all
}

// Rules of nft(8), and what a connection from a container on br-a to 192.0.2.9 port 80 meets.
func TestNative(t *testing.T) {
	const drop, accept = `{"drop": null}`, `{"accept": null}`
	match := func(left, op, right string) string {
		return fmt.Sprintf(`{"match": {"op": %q, "left": %s, "right": %s}}`, op, left, right)
	}
	meta := func(key string) string { return fmt.Sprintf(`{"meta": {"key": %q}}`, key) }
	field := func(protocol, name string) string {
		return fmt.Sprintf(`{"payload": {"protocol": %q, "field": %q}}`, protocol, name)
	}
	ct := func(key string) string { return fmt.Sprintf(`{"ct": {"key": %q}}`, key) }
	for _, c := range []struct {
		name   string
		policy string
		rules  []string
		fate   fate
		by     string // the chain and number of the rule; "": a policy
	}{
		{"policy", "drop", nil, dropped, ""},
		{"first match", "drop", []string{match(meta("iifname"), "==", `"br-a"`) + "," + accept, drop}, passes, "c 1"},
		{"another link", "accept", []string{match(meta("iifname"), "==", `"br-b"`) + "," + drop}, passes, ""},
		{"names that begin so", "accept", []string{match(meta("iifname"), "==", `"br-*"`) + "," + drop}, dropped, "c 1"},
		{"not", "accept", []string{match(meta("oifname"), "!=", `"br-a"`) + "," + drop}, dropped, "c 1"},
		{"another protocol's field", "accept", []string{match(field("udp", "dport"), "!=", `81`) + "," + drop}, passes, ""},
		{"another family's field", "accept", []string{match(field("ip6", "daddr"), "!=", `"::1"`) + "," + drop}, passes, ""},
		{"prefix", "accept", []string{match(field("ip", "daddr"), "==", `{"prefix": {"addr": "192.0.2.0", "len": 24}}`) + "," + drop}, dropped, "c 1"},
		{"range", "accept", []string{match(field("ip", "saddr"), "==", `{"range": ["172.18.0.1", "172.18.0.9"]}`) + "," + drop}, dropped, "c 1"},
		{"greater", "accept", []string{match(field("tcp", "dport"), ">", `80`) + "," + drop, match(field("tcp", "dport"), ">=", `80`) + "," + drop}, dropped, "c 2"},
		{"several", "accept", []string{match(field("tcp", "dport"), "==", `{"set": [22, {"range": [79, 99]}]}`) + "," + drop}, dropped, "c 1"},
		{"none of several", "accept", []string{match(field("tcp", "dport"), "!=", `{"set": [22, 80]}`) + "," + drop}, passes, ""},
		{"set", "accept", []string{match(fmt.Sprintf(`{"concat": [%s, %s]}`, field("ip", "daddr"), field("th", "dport")), "==", `"@s"`) + "," + drop}, dropped, "c 1"},
		{"not in the set", "accept", []string{match(fmt.Sprintf(`{"concat": [%s, %s]}`, field("ip", "saddr"), field("th", "dport")), "==", `"@s"`) + "," + drop}, passes, ""},
		{"a set that is not there", "accept", []string{match(field("ip", "saddr"), "==", `"@gone"`) + "," + drop}, puzzled, "c 1"},
		{"state", "drop", []string{match(ct("state"), "in", `["established", "related"]`) + "," + accept, match(ct("state"), "in", `"new"`) + "," + accept}, passes, "c 2"},
		{"status", "accept", []string{match(ct("status"), "in", `"dnat"`) + "," + drop}, passes, ""},
		{"status that can't be told", "accept", []string{match(ct("status"), "in", `"assured"`) + "," + drop}, puzzled, "c 1"},
		{"flags", "accept", []string{match(fmt.Sprintf(`{"&": [%s, ["syn", "ack"]]}`, field("tcp", "flags")), "==", `"syn"`) + "," + drop}, dropped, "c 1"},
		{"mark", "accept", []string{`{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"&": [{"meta": {"key": "mark"}}, 15]}, 4]}}}`,
			match(fmt.Sprintf(`{"&": [%s, 4]}`, meta("mark")), "==", "4") + "," + drop}, dropped, "c 2"},
		{"mark of the flow", "accept", []string{`{"mangle": {"key": {"ct": {"key": "mark"}}, "value": 2}}`, match(ct("mark"), "==", "2") + "," + drop}, dropped, "c 2"},
		{"map", "accept", []string{`{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@v"}}`, drop}, passes, "d 1"}, // RETURN behind goto: the policy
		{"map without the element", "accept", []string{`{"vmap": {"key": {"meta": {"key": "pkttype"}}, "data": {"set": [["broadcast", {"drop": null}]]}}}`, drop}, dropped, "c 2"},
		{"map for the rest", "accept", []string{`{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["x", {"accept": null}], ["*", {"drop": null}]]}}}`}, dropped, "c 1"},
		{"jump and return", "drop", []string{`{"jump": {"target": "d"}}`, accept}, passes, "c 2"},
		{"goto and return", "drop", []string{`{"goto": {"target": "d"}}`, accept}, dropped, "d 1"},
		{"a chain that is not there", "drop", []string{`{"goto": {"target": "gone"}}`}, puzzled, "c 1"},
		{"limit before a log", "accept", []string{`{"limit": {"rate": 3, "per": "minute"}}, {"log": {"prefix": "x"}}`, drop}, dropped, "c 2"},
		{"limit that matters", "accept", []string{`{"limit": {"rate": 3, "per": "minute"}}, {"drop": null}`}, puzzled, "c 1"},
		{"unknown statement", "accept", []string{`{"queue": {"num": 1}}`}, puzzled, "c 1"},
		{"unknown statement of others' packets", "accept", []string{match(meta("iifname"), "==", `"br-b"`) + `, {"queue": {"num": 1}}`}, passes, ""},
		{"unknown field", "accept", []string{match(meta("skuid"), "==", `0`) + "," + drop}, puzzled, "c 1"},
		{"unknown field that does not matter", "accept", []string{match(meta("skuid"), "==", `0`) + "," + drop, drop}, dropped, "c 2"},
		{"what iptables alone knows", "accept", []string{`{"xt": {"type": "match", "name": "set"}}, {"drop": null}`}, puzzled, "c 1"},
		{"reject", "accept", []string{`{"reject": null}`}, rejected, "c 1"},
		{"reject of the other family", "accept", []string{`{"reject": {"type": "icmpv6", "expr": "port-unreachable"}}`}, passes, ""},
		{"reset of the other family, of both", "accept", []string{`{"reject": {"type": "tcp reset"}}`, `{"reject": {"type": "tcp reset"}}`}, rejected, "c 2"},
		{"reset of a family that can't be told", "accept", []string{`{"counter": null}`, `{"counter": null}`, `{"reject": {"type": "tcp reset"}}`}, puzzled, "c 3"},
		{"no route back", "accept", []string{match(`{"fib": {"result": "oif", "flags": ["saddr", "iif"]}}`, "==", "false") + "," + drop}, dropped, "c 1"},
		{"type of an address", "accept", []string{match(`{"fib": {"result": "type", "flags": ["daddr"]}}`, "==", `"local"`) + "," + drop}, passes, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := hostWithTwo()
			s := w.Spaces[0]
			s.Natives = natives(t, c.policy, c.rules...)
			p := Packet{Proto: TCP, Src: netip.MustParseAddr("172.18.0.2"), Dst: netip.MustParseAddr("192.0.2.9"), Dport: 80, in: "br-a", out: "eth0"}
			(&walker{w: w}).track(s, &p)
			v := w.native(s, s.Natives[0], s.Natives[0].Chains[0], p)
			by := ""
			if v.rule != nil {
				by = fmt.Sprintf("%s %d", v.rule.Chain, v.rule.Number)
			}
			if v.fate != c.fate || by != c.by {
				t.Errorf("fate %d by %q, want %d by %q", v.fate, by, c.fate, c.by)
			}
		})
	}
}

// A rejection with a reset is for TCP alone: nft(8) has the rule ask for that, and does not
// print it.
func TestNativeReset(t *testing.T) {
	for proto, want := range map[string]fate{TCP: rejected, UDP: passes, ICMP: passes} {
		w, _ := hostWithTwo()
		s := w.Spaces[0]
		s.Natives = natives(t, "accept", `{"counter": null}`, `{"reject": {"type": "tcp reset"}}`)
		p := Packet{Proto: proto, Src: netip.MustParseAddr("172.18.0.2"), Dst: netip.MustParseAddr("192.0.2.9"), in: "br-a", out: "eth0"}
		(&walker{w: w}).track(s, &p)
		if v := w.native(s, s.Natives[0], s.Natives[0].Chains[0], p); v.fate != want {
			t.Errorf("%s: fate %d, want %d", proto, v.fate, want)
		}
	}
}

// What leads to a verdict, and why, is told: elements of maps have reasons of their own.
func TestNativeReasons(t *testing.T) {
	w, _ := hostWithTwo()
	s := w.Spaces[0]
	s.Natives = natives(t, "accept", `{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@v"}}`)
	w.Why = map[RuleKey]string{{Table: "inet f", Chain: "v", Rule: `{ "br-a" : goto d }`}: "It comes from here.", {Table: "inet f", Chain: "d", Rule: "the one with the handle 8"}: "Nothing else."}
	p := Packet{Proto: TCP, Src: netip.MustParseAddr("172.18.0.2"), Dst: netip.MustParseAddr("192.0.2.9"), Dport: 81, in: "br-a", out: "eth0"}
	k := &walker{w: w}
	end := k.hook(s, "FORWARD", &p)
	if end == nil || end.verdict != Dropped || end.reason != "it is dropped by nft, table inet f, chain d, rule 2: the one with the handle 8" {
		t.Fatalf("%+v", end)
	}
	have := strings.Join(end.rule.lines(), "\n")
	want := "rule inet f c the rule 1\nelement inet f v { \"br-a\" : goto d }\nIt comes from here.\nrule inet f d the one with the handle 8\nNothing else."
	if have != want {
		t.Errorf("have\n%s\nwant\n%s", have, want)
	}
	r := Result{Rule: end.rule, Steps: k.steps}
	r.Escape(strings.ToUpper)
	if text := r.Text(); !strings.Contains(text, "ELEMENT INET F V") {
		t.Errorf("what has led there is not escaped:\n%s", text)
	}
}

// Elements are printed as nft(8) does, and those that count are found by that.
func TestNativeElements(t *testing.T) {
	table := natives(t, "accept", `{"counter": {"packets": 5, "bytes": 300}}`)[0]
	for name, want := range map[string]string{"v": `{ "br-a" : goto d }`, "s": "{ 192.0.2.0/24 . 79-81 }", "n": "{ tcp . 80 : 172.18.0.9 . 8080 }"} {
		if have := table.Sets[name].Elements[0].Text(); have != want {
			t.Errorf("%s: %s, want %s", name, have, want)
		}
	}
	counted := table.Counted()
	if n := counted[RuleKey{Table: "inet f", Chain: "n", Rule: "{ tcp . 80 : 172.18.0.9 . 8080 }"}]; n.Packets != 3 || n.Bytes != 180 {
		t.Errorf("the element has counted %+v", n)
	}
	if n := counted[RuleKey{Table: "inet f", Chain: "c", Rule: "the rule 1"}]; n.Packets != 5 || n.Bytes != 300 || len(counted) != 2 {
		t.Errorf("the rule has counted %+v of %v", n, counted)
	}
}

// Translation: to where a map says, for packets of the rule's family, and once.
func TestNativeTranslation(t *testing.T) {
	const byMap = `{"dnat": {"family": "ip", "addr": {"map": {"key": {"concat": [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}, "data": "@n"}}}}`
	for _, c := range []struct {
		rule, dst string
		port      uint16
		want      string // the destination behind it
		fate      fate
	}{
		{byMap, "192.0.2.2", 80, "172.18.0.9:8080", passes},
		{byMap, "192.0.2.2", 81, "192.0.2.2:81", passes},
		{byMap, "2001:db8::2", 80, "[2001:db8::2]:80", passes},
		{`{"dnat": {"addr": "172.18.0.7", "port": 82}}`, "192.0.2.2", 80, "172.18.0.7:82", passes},
		{`{"dnat": {"addr": "172.18.0.7", "port": {"range": [82, 90]}}}`, "192.0.2.2", 80, "192.0.2.2:80", puzzled},
		{`{"dnat": {"addr": {"range": ["172.18.0.7", "172.18.0.9"]}}}`, "192.0.2.2", 80, "192.0.2.2:80", puzzled},
		{`{"redirect": {"port": 8080}}`, "192.0.2.9", 80, "192.0.2.2:8080", passes},
	} {
		w, _ := hostWithTwo()
		s := w.Spaces[0]
		s.Natives = natives(t, "accept", c.rule)
		dst := netip.MustParseAddr(c.dst)
		p := Packet{Proto: TCP, Src: map[bool]netip.Addr{false: netip.MustParseAddr("192.0.2.7"), true: netip.MustParseAddr("2001:db8::7")}[dst.Is6()], Dst: dst, Dport: c.port, in: "eth0"}
		(&walker{w: w}).track(s, &p)
		v := w.native(s, s.Natives[0], s.Natives[0].Chains[0], p)
		if have := netip.AddrPortFrom(v.packet.Dst, v.packet.Dport).String(); have != c.want || v.fate != c.fate {
			t.Errorf("%s: %s port %d becomes %s, fate %d; want %s, %d", c.rule, c.dst, c.port, have, v.fate, c.want, c.fate)
		}
	}
}

func TestParseNativeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"nonsense":       "nft --json: invalid character",
		`{"nftables": [`: "nft --json: unexpected EOF",
		`{"nftables": [{"table": {"family": "ip", "name": "x"}}, {"rule": {"family": "ip", "table": "x", "chain": "c", "expr": []}}]}`:       `a rule of table ip x is in chain "c"`,
		`{"nftables": [{"table": {"family": "ip", "name": "x"}}, {"map": {"family": "ip", "table": "x", "name": "m", "elem": [["a"]]}}]}`:    "map m of table ip x",
		`{"nftables": [{"table": {"family": "ip", "name": "x"}}, {"chain": {"family": "ip", "table": "x", "name": "m", "prio": "filter"}}]}`: "chain",
	} {
		if _, err := ParseNative(Listed{JSON: text}, noneSkipped); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	all, err := ParseNative(Listed{JSON: `{"nftables": [{"table": {"family": "ip", "name": "filter"}}, {"table": {"family": "arp", "name": "x"}}, {"chain": {"family": "ip", "table": "filter", "name": "m"}}]}`},
		func(_, table string) bool { return table == "filter" })
	if err != nil || len(all) > 0 {
		t.Errorf("%v, %v; want none of what is skipped, or of families that are not evaluated", all, err)
	}
}
