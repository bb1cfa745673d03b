package reliability

import "time"

// healed bounds the interruption by what is healed when the kernel tells of it.
const healed = time.Second

// polled is for the legacy variant of iptables, of whose rules the kernel does not tell.
const polled = 5 * time.Second

// reloaded is for firewalld, which itself keeps everything out for a part of its reload.
const reloaded = 3 * time.Second

func init() {
	const flush, legacy = "TestOthersChangeTheFirewall/flush", "TestOthersChangeTheFirewall/flush_legacy"
	add(
		Row{Fault: "`iptables -F`", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`iptables -F` and `-X`", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`iptables -t nat -F`", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`iptables -F` and `iptables -t nat -F`", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`iptables-restore` of an old snapshot", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "the rule of a published port is deleted", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "a jump to mybr's chains is deleted", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "a jump to mybr's chains is put behind a rule that drops all", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`ip6tables -F`", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`ip6tables -t nat -F`", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`nft flush ruleset`", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`iptables-legacy -F`", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "`iptables-legacy -F` and `-X`", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "`iptables-legacy -t nat -F`", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "`iptables-legacy-restore` of an old snapshot", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "the rule of a published port is deleted (legacy)", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "`nft flush ruleset` with 500 published ports", Kind: Firewall, Bound: healed, Test: "TestOthersChangeTheFirewall/500_ports"},
		Row{Fault: "`iptables -F` and `-t nat -F` with 500 published ports", Kind: Firewall, Bound: healed, Test: "TestOthersChangeTheFirewall/500_ports"},
		Row{Fault: "`firewall-cmd --reload`", Kind: Firewall, Bound: reloaded, Test: "TestOthersChangeTheFirewall/firewalld"},
		Row{Fault: "`firewall-cmd --complete-reload`", Kind: Firewall, Bound: reloaded, Test: "TestOthersChangeTheFirewall/firewalld"},
		Row{Fault: "`ufw enable`", Kind: Firewall, Bound: healed, Test: "TestOthersChangeTheFirewall/ufw"},
		Row{Fault: "`ufw reload`", Kind: Firewall, Bound: healed, Test: "TestOthersChangeTheFirewall/ufw"},
		Row{Fault: "`ufw disable`", Kind: Firewall, Bound: healed, Test: "TestOthersChangeTheFirewall/ufw"},
		Row{Fault: "another program's rule comes first in FORWARD and drops all, and goes", Kind: Firewall, Bound: healed, Test: "TestOthersChangeTheFirewall/drop_on_top"},
		Row{Fault: "`iptables -F`, `-t nat -F` and `-P FORWARD ACCEPT` while mybr is away", Kind: Firewall, Test: "TestOthersChangeTheFirewall/flushed_while_away"},

		Row{Fault: "a bridge is deleted", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a bridge is renamed", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a bridge is set down", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a bridge's address is removed", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a bridge's IPv6 address is removed", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a setting of a bridge is changed (resync every second)", Kind: Links, Bound: healed, Test: "TestResync"},
		Row{Fault: "a bridge's MTU is changed", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a veth is taken off its bridge", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a veth is set down", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "ip_forward is turned off", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a veth is deleted, and its container connected anew", Kind: Links, Bound: healed, Test: "TestOthersChangeLinks"},
		Row{Fault: "a VPN's route comes to overlap a network", Kind: Links, Bound: healed, Test: "TestVPN"},
	)
}
