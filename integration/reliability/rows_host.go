package reliability

import "time"

// Healed bounds the interruption by what is healed when the kernel tells of it.
const Healed = time.Second

func init() {
	add(
		Row{Fault: "a rule that drops all comes first in FORWARD, and goes", Kind: Firewall, Bound: Healed, Test: "TestOthersChangeTheFirewall/drop_on_top"},
		Row{Fault: "`iptables -F`, `-t nat -F` and `-P FORWARD ACCEPT` while mybr is away", Kind: Firewall, Test: "TestOthersChangeTheFirewall/flushed_while_away"},
	)
}
