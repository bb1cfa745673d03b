package iptables

// ruleset is the content of mybr's own chains: the same tables, and the same chains for
// every two policies of one layout, in one order.
type ruleset []table

type table struct {
	name   string
	chains []chain
}

type chain struct {
	name  string
	rules []served
	// first says that the first rule must stay the first.
	first bool
	// ordered says that the rules of one bridge must keep their order. Otherwise, and
	// between bridges, the order does not matter.
	ordered bool
	// drops says that the last rule, if there is any, drops whatever the others have not
	// returned, so that new rules go to the front.
	drops bool
}

// texts is the rules as iptables-save(8) prints them.
func (c chain) texts() []string {
	out := make([]string, len(c.rules))
	for i, r := range c.rules {
		out[i] = r.text
	}
	return out
}

// rule is one rule as iptables-save(8) prints it behind "-A CHAIN ", so that what is
// read back can be compared, and what it is for.
type rule struct {
	text, why string
}

// served is a rule and whom it serves: the network of a bridge, and of its endpoints the
// one with that host's end of the veth pair. "": all of them.
type served struct {
	rule
	bridge, link string
}

// add appends rules that serve a network, or one endpoint of it.
func (c *chain) add(bridge, link string, rules ...rule) {
	for _, r := range rules {
		c.rules = append(c.rules, served{r, bridge, link})
	}
}
