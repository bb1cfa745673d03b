package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/explain"
)

// scene is where a packet is lost: the host and the container, and who shares links with them.
type scene struct {
	*ports
	one       probe
	w         *explain.World
	host, box *explain.Space
	sandbox   string // the file of the container's namespace
	r         explain.Result
}

// suspects are the things that may be to blame for the loss of a packet, the likely ones first.
func (p *ports) suspects(w *explain.World, one probe, r explain.Result) (all []cause) {
	s := scene{ports: p, one: one, w: w, host: w.Spaces[0], r: r}
	for _, space := range w.Spaces {
		if slices.Contains(one.to, space.Name) {
			s.box = space
		}
	}
	for _, e := range p.view.Endpoints {
		if e.ID == one.port.Endpoint {
			s.sandbox = e.Sandbox
		}
	}
	return slices.Concat(s.rules(), s.settings(), s.links(), s.addresses(), s.routes(), s.policies(), s.chains(), s.nativeChains())
}

// clone is a World whose spaces can be replaced.
func clone(w *explain.World) *explain.World {
	c := *w
	c.Spaces = slices.Clone(w.Spaces)
	return &c
}

// edit has one space of a clone be a copy, whose fields can be replaced.
func edit(w *explain.World, name string) *explain.Space {
	i := slices.IndexFunc(w.Spaces, func(s *explain.Space) bool { return s.Name == name })
	c := *w.Spaces[i]
	w.Spaces[i] = &c
	return &c
}

// in is a command for a namespace.
func (s scene) in(space *explain.Space, words ...string) []string {
	if space != s.host {
		words = append([]string{"nsenter", "--net=" + s.sandbox}, words...)
	}
	return command(words...)
}

// of names a thing of a namespace: the host's need no name.
func (s scene) of(space *explain.Space) string {
	if space == s.host {
		return ""
	}
	return " of " + s.container(s.one.port)
}

// variant is the command of a variant of iptables as the other checks have it.
func variant(f explain.Filter) string {
	name := strings.TrimSuffix(strings.TrimSuffix(f.Command, "-nft"), "-legacy")
	if f.Legacy {
		return name + "-legacy"
	}
	return name + "-nft"
}

// rules are those that the packet has met and that are not mybr's, what decided first.
func (s scene) rules() (all []cause) {
	met := []*explain.RuleAt{s.r.Rule}
	spaces := []*explain.Space{s.host}
	for _, step := range slices.Backward(s.r.Steps) {
		i := slices.IndexFunc(s.both(), func(space *explain.Space) bool { return space.Name == step.Space })
		if step.Rule == nil || i < 0 {
			continue
		}
		space := s.both()[i]
		if step.Rule == s.r.Rule {
			spaces[0] = space
			continue
		}
		met, spaces = append(met, step.Rule), append(spaces, space)
	}
	for i, at := range met {
		switch {
		case at == nil || ownChain(at.Chain):
		case at.Command == "nft":
			if i == 0 && spaces[0] == s.host && !s.ownTable(at.Table) {
				all = append(all, s.native(*at)...)
			}
		default:
			all = append(all, s.without(spaces[i], *at)...)
		}
	}
	return all
}

// ownTable reports whether a table of nf_tables is mybr's.
func (s scene) ownTable(table string) bool {
	_, name, _ := strings.Cut(table, " ")
	return name == "mybr"
}

// native is that a rule of nf_tables' own has dropped the packet. What becomes of it without that
// rule is not predicted.
func (s scene) native(at explain.RuleAt) []cause {
	family, table, _ := strings.Cut(at.Table, " ")
	text, err := s.Run(s.ctx, "nft", "-j", "list", "table", family, table)
	if err != nil {
		return nil
	}
	list, err := parseNft(text)
	if err != nil {
		return nil
	}
	for _, set := range list.rulesets(family, table) {
		c := set.chain(at.Chain)
		if c == nil {
			continue
		}
		for i, r := range c.rules {
			if r.number == at.Number {
				d := dropper{set: set, chain: c, number: i + 1}
				return []cause{{what: d.where(), mend: d.remedy(), sure: true}}
			}
		}
	}
	return nil
}

// without is that a rule is to blame.
func (s scene) without(space *explain.Space, at explain.RuleAt) []cause {
	for i, f := range space.Filters {
		if f.Command != at.Command {
			continue
		}
		by, where := variant(f), []string{}
		if at.Table != "filter" {
			where = []string{"-t", at.Table}
		}
		words := slices.Concat([]string{by, "-w"}, where, []string{"-D", at.Chain}, unquote(at.Rule))
		name := strings.Join(append(append([]string{by}, where...), at.Chain), " ")
		return []cause{{
			what: fmt.Sprintf("%s rule %d (%s)%s", name, at.Number, at.Rule, s.of(space)), mend: s.in(space, words...),
			change: func(w *explain.World) {
				edit(w, space.Name).Filters = replaced(space.Filters, i, at.Table, at.Chain, func(c *explain.Chain) {
					if at.Number <= len(c.Rules) {
						c.Rules = slices.Delete(slices.Clone(c.Rules), at.Number-1, at.Number)
					}
				})
			}}}
	}
	return nil
}

// replaced are filters of which one has another chain.
func replaced(filters []explain.Filter, i int, table, chain string, change func(*explain.Chain)) []explain.Filter {
	filters = slices.Clone(filters)
	filters[i].Tables = slices.Clone(filters[i].Tables)
	for j, t := range filters[i].Tables {
		for k, c := range t.Chains {
			if t.Name == table && c.Name == chain {
				own := *c
				change(&own)
				chains := slices.Clone(t.Chains)
				chains[k] = &own
				filters[i].Tables[j].Chains = chains
			}
		}
	}
	return filters
}

// chains are those whose policy drops.
func (s scene) chains() (all []cause) {
	for _, space := range s.both() {
		for i, f := range space.Filters {
			for _, t := range f.Tables {
				for _, c := range t.Chains {
					if c.Policy != "DROP" || f.Six != s.one.query.Dst.Is6() {
						continue
					}
					by, where := variant(f), []string{}
					if t.Name != "filter" {
						where = []string{"-t", t.Name}
					}
					all = append(all, cause{policy: true,
						what: fmt.Sprintf("%s: its policy%s", strings.Join(append(append([]string{by}, where...), c.Name), " "), s.of(space)),
						mend: s.in(space, slices.Concat([]string{by, "-w"}, where, []string{"-P", c.Name, "ACCEPT"})...),
						change: func(w *explain.World) {
							edit(w, space.Name).Filters = replaced(space.Filters, i, t.Name, c.Name, func(c *explain.Chain) { c.Policy = "ACCEPT" })
						}})
				}
			}
		}
	}
	return all
}

// nativeChains are the host's of nf_tables' own whose policy drops.
func (s scene) nativeChains() (all []cause) {
	for i, t := range s.host.Natives {
		for j, c := range t.Chains {
			if c.Policy != "drop" || t.Name == "mybr" {
				continue
			}
			d := dropper{set: &ruleset{by: "nft", nft: []string{t.Family, t.Name}}, chain: &chain{name: c.Name}}
			all = append(all, cause{what: d.where(), mend: d.remedy(), change: func(w *explain.World) {
				open, table := *c, *t
				open.Policy = "accept"
				table.Chains = slices.Clone(t.Chains)
				table.Chains[j] = &open
				e := edit(w, s.host.Name)
				e.Natives = slices.Clone(e.Natives)
				e.Natives[i] = &table
			}})
		}
	}
	return all
}

func (s scene) both() []*explain.Space {
	if s.box == nil || s.box == s.host {
		return []*explain.Space{s.host}
	}
	return []*explain.Space{s.host, s.box}
}

// settings are those that keep packets from passing.
func (s scene) settings() (all []cause) {
	family := "ipv4"
	if s.one.query.Dst.Is6() {
		family = "ipv6"
	}
	bad := func(space *explain.Space, link, setting string, is func(string) bool, want string) {
		path := family + "/conf/" + link + "/" + setting
		has, there := space.Settings[path]
		if !there || !is(has) {
			return
		}
		// Written for all, it is so for each (ip-sysctl.rst); ip_forward is the same.
		name := "net/" + path
		everywhere := setting == "forwarding" && link == "all"
		if everywhere && family == "ipv4" {
			name = "net/ipv4/ip_forward"
		}
		all = append(all, cause{what: fmt.Sprintf("%s is %s%s", dotted(name), has, s.of(space)), mend: s.in(space, "sysctl", "-w", dotted(name)+"="+want),
			change: func(w *explain.World) {
				settings := maps.Clone(space.Settings)
				settings[path] = want
				for other := range settings {
					if everywhere && strings.HasPrefix(other, family+"/conf/") && strings.HasSuffix(other, "/forwarding") {
						settings[other] = want
					}
				}
				edit(w, space.Name).Settings = settings
			}})
	}
	off := func(v string) bool { return v == "0" }
	on := func(v string) bool { return v != "0" && v != "" }
	for _, space := range s.both() {
		links := []string{"all", s.one.query.In, s.one.port.Bridge}
		if space == s.box {
			links = []string{"all"}
			for _, l := range space.Links {
				links = append(links, l.Name)
			}
		}
		for _, link := range links {
			if space == s.host {
				bad(space, link, "forwarding", off, "1")
			}
			bad(space, link, "disable_ipv6", on, "0")
			bad(space, link, "arp_ignore", on, "0")
			strict := max(space.Settings["ipv4/conf/all/rp_filter"], space.Settings["ipv4/conf/"+link+"/rp_filter"]) == "1"
			bad(space, link, "rp_filter", func(string) bool { return strict && link != "all" }, "2")
		}
	}
	return all
}

// number is a number in decimal.
func number(n int) string { return strconv.Itoa(n) }
