package firewall

// What egress lists refuse is told to whoever listens, before it is dropped, and so is what lists
// would refuse that are only watched (egress.Allowed.Audit), which then goes on as if there were no
// list. It is the same for all networks and ports: the rules are behind those of the lists, and a
// packet that is allowed meets none of them.
const (
	// RefusedGroup is the group of nfnetlink_log that hears of it (--nflog-group of
	// iptables-extensions(8), "log group" of nft(8)): "mb" in ASCII. Programs that log use small
	// numbers, mostly from 0 on.
	RefusedGroup = 0x6d62

	// RefusedBytes is how much of each packet is told: enough for the headers of IPv6, with some
	// extensions, and of TCP. Nothing of what the packet carries is wanted.
	RefusedBytes = 128

	// RefusedRate and RefusedBurst limit what is told, in each family, and of what is refused and
	// what is watched, by packets in a second: nobody makes the process work by knocking at what is
	// closed.
	RefusedRate  = 100
	RefusedBurst = 200

	// RefusedPrefix and AuditPrefix begin what is told.
	RefusedPrefix = "mybr-refused"
	AuditPrefix   = "mybr-audit"
)
