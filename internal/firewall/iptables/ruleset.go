package iptables

// ruleset is the content of mybr's own chains: the same tables for all policies, in one
// order.
type ruleset []table

type table struct {
	name   string
	chains []chain
}

type chain struct {
	name  string
	rules []served
	// strict says that the rules must keep their order, all of them. They hang on the layout
	// and on what is known of Docker alone.
	strict bool
	// first says that the first rule must stay the first.
	first bool
	// ordered says that the rules about one link must keep their order. Otherwise, and
	// between links, the order does not matter.
	ordered bool
	// last says that the last rule, if there is any, is for what the others have let
	// through, so that new rules go to the front.
	last bool
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

// serving is rules that serve a network, or one endpoint of it.
func serving(bridge, link string, rules ...rule) []served {
	var out []served
	for _, r := range rules {
		out = append(out, served{r, bridge, link})
	}
	return out
}

// add appends rules that serve a network, or one endpoint of it.
func (c *chain) add(bridge, link string, rules ...rule) {
	c.rules = append(c.rules, serving(bridge, link, rules...)...)
}
