package attack

// Places where watchers stand. A token that is seen at the bridge has not come further than the
// host's own hardware address: only what never gets beyond that, ARP and its like, is judged there.
const (
	lan       = "LAN"           // the listed host
	evil      = "foreign host"  // another one of the LAN
	host      = "host"          // behind its packet filter
	neighbour = "neighbour"     // on the same network
	other     = "other network" // a container there
	bridge    = "bridge"
	attacker  = "attacker" // whom something may come in to
)

// row is a way out, or to somebody.
type row struct {
	name string
	only string // "IPv4" or "IPv6": the other one has nothing like it
	at   string // where it arrives without a list; "": at the foreign host
	// fails is why it works on no network: then the row checks the refusal alone.
	fails string
	// may is where it may arrive with the lists, and why that is by design.
	may, why string
	// must has it arrive there with the lists, which proves that the attacker can send.
	must bool
	// carried is what the process carries: it must arrive while mybr runs, and may not while it is away.
	carried bool
	// capitals has the token in capital letters, which are not looked for as small ones.
	capitals bool
	// accomplice is sent by the foreign host, before what eve sends, and once more behind it.
	accomplice func(scene) attempts
	try        func(scene) attempts
}

// section is a part of the table with its heading.
type section struct {
	title string
	rows  []row
}

// table is everything that is tried.
func table() []section {
	return []section{
		{"To foreign addresses, and to listed ones by a foreign name", names},
		{"DNS", dns},
		{"Protocols and the IP header", packets},
		{"As somebody else", senders},
		{"As the answer to nothing", replies},
		{"To the host and other networks", inwards},
		{"To neighbours", neighbours},
	}
}

// families is the families that a row is tried in.
func (r row) families() []string {
	if r.only != "" {
		return []string{r.only}
	}
	return []string{"IPv4", "IPv6"}
}

// arrives is where the token is seen without a list.
func (r row) arrives() string {
	if r.at == "" {
		return evil
	}
	return r.at
}
