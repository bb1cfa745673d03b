package reliability

import "time"

// healed bounds the interruption by what is healed when the kernel tells of it.
const healed = time.Second

// polled is for the legacy variant of iptables, of whose rules the kernel does not tell.
const polled = 3 * time.Second

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
		Row{Fault: "`nft flush ruleset`", Kind: Firewall, Bound: healed, Test: flush},
		Row{Fault: "`iptables-legacy -F`", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "`iptables-legacy -F` and `-X`", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "`iptables-legacy -t nat -F`", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "`iptables-legacy-restore` of an old snapshot", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "the rule of a published port is deleted (legacy)", Kind: Firewall, Bound: polled, Test: legacy},
		Row{Fault: "another program's rule comes first in FORWARD and drops all, and goes", Kind: Firewall, Bound: healed, Test: "TestOthersChangeTheFirewall/drop_on_top"},
		Row{Fault: "`iptables -F`, `-t nat -F` and `-P FORWARD ACCEPT` while mybr is away", Kind: Firewall, Test: "TestOthersChangeTheFirewall/flushed_while_away"},
	)
}
