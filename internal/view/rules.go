package view

// Rules is what mybr wants of the packet filter.
type Rules struct {
	Version int    `json:"version"`
	Rules   []Rule `json:"rules"` // IPv4's first; in the order of tables and chains
	// Compared says that Differences and Unknown are about the kernel as it was then.
	Compared    bool             `json:"compared"`
	Differences []RuleDifference `json:"differences"`       // in the order in which mybr would mend them
	Unknown     string           `json:"unknown,omitempty"` // why not all could be compared
}

// Rule is one rule, why it is there, and whom it serves.
type Rule struct {
	Command  string   `json:"command"` // that shows it: "iptables", "ip6tables" or "nft"
	Table    string   `json:"table"`
	Chain    string   `json:"chain"` // or the set or map of an element of nftables
	Rule     string   `json:"rule"`  // as iptables-save(8) has it behind "-A CHAIN ", or as nft(8) has it; an element is in braces
	Why      string   `json:"why"`
	Bridge   string   `json:"bridge,omitempty"`   // of the network that it serves; "": all of them
	Network  string   `json:"network,omitempty"`  // its ID
	Endpoint string   `json:"endpoint,omitempty"` // the ID of the one that it serves; "": all of the network
	Name     string   `json:"name,omitempty"`     // of that endpoint's container, or else of the network; "": not asked, or not told
	Traffic  *Counted `json:"traffic,omitempty"`  // nil: not counted, or not there
}

// What mends a RuleDifference.
const (
	AddRule    = "add"    // the kernel doesn't have it
	DeleteRule = "delete" // the kernel has it, and mybr doesn't want it
	MoveRule   = "move"   // it is in the wrong place of its chain
)

// RuleDifference is a rule, or a chain, that the kernel has otherwise than mybr wants.
type RuleDifference struct {
	Command string `json:"command"`
	Table   string `json:"table"`
	Chain   string `json:"chain"`
	Rule    string `json:"rule,omitempty"` // "": the chain itself
	Mend    string `json:"mend"`
	Why     string `json:"why,omitempty"` // why it is wanted, or not
}

// Counted is what a rule has seen since it was made. In the table nat only the first packet
// of each connection meets the rules.
type Counted struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Name puts Docker's names in, as far as they are known: those of containers by endpoint ID,
// those of networks by network ID.
func (r *Rules) Name(containers, networks map[string]string) {
	for i := range r.Rules {
		if rule := &r.Rules[i]; rule.Endpoint != "" {
			name(&rule.Name, containers, rule.Endpoint)
		} else {
			name(&rule.Name, networks, rule.Network)
		}
	}
}
