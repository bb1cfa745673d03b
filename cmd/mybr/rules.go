package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/explain/host"
	"github.com/mybr/mybr/internal/fold"
	"github.com/mybr/mybr/internal/view"
)

func newRules() *cobra.Command {
	var s seer
	var diff, counters bool
	c := command(cobra.Command{
		Use:   "rules [flags]",
		Short: "List the firewall rules that mybr wants, with the reason and whom each serves",
		Long: `rules lists the firewall rules that mybr wants, IPv4's first, in the order of their
tables and chains: each with the reason it exists, and whom it serves. With --firewall
nftables a published port, or what a network is, is an element of a set or map.

With --diff it prints what the kernel has otherwise, with the reason, and exits with 1
if there is anything: "+" is a rule or chain that is missing, "-" one that is not wanted,
"~" a rule in the wrong place. mybr mends that by itself, as a rule before it can be seen
here; nothing is changed by asking.

With --counters it reads the kernel's rules, which needs root, and says how many packets
and bytes each has seen since it was made. Of nat only the first packet of a connection
meets the rules. With --firewall nftables the elements of published ports count, and nothing
else does: a counter costs each packet something.`,
	}, func(cmd *cobra.Command) error {
		all, err := s.client.Rules(cmd.Context(), diff)
		if err != nil {
			return err
		}
		if !diff || s.output == outputJSON { // else nobody is named
			names := s.names(cmd)
			all.Name(names.Containers, names.Networks)
		}
		if counters {
			counted, err := host.Counted(cmd.Context())
			if err != nil {
				return fmt.Errorf("count: %w", err)
			}
			for i, r := range all.Rules {
				if n, ok := counted[explain.RuleKey{Six: r.Command == "ip6tables", Table: r.Table, Chain: r.Chain, Rule: r.Rule}]; ok {
					all.Rules[i].Traffic = &n
				}
			}
		}
		switch {
		case s.output == outputJSON:
			if err := printJSON(cmd.OutOrStdout(), all); err != nil {
				return err
			}
		case diff:
			printRuleDiff(cmd.OutOrStdout(), all)
		default:
			printRules(cmd.OutOrStdout(), all)
		}
		return outcomeOfRules(all)
	})
	toggle(c.Flags(), &diff, "diff", "print what the kernel has otherwise")
	toggle(c.Flags(), &counters, "counters", "say how many packets and bytes each rule has seen")
	s.flags(c)
	return c
}

// outcomeOfRules is what the command ends with when it has printed what there is.
func outcomeOfRules(all view.Rules) error {
	var errs []error
	if len(all.Differences) > 0 {
		errs = append(errs, errRulesDiffer)
	}
	if all.Unknown != "" {
		errs = append(errs, errors.New("not all could be told: "+all.Unknown))
	}
	return errors.Join(errs...)
}

// errRulesDiffer is what `rules --diff` ends with when it has printed something.
var errRulesDiffer = errors.New("the kernel's rules are not those that mybr wants")

// inNftables reports whether a rule is one of nft(8), or an element that such rules look up.
func inNftables(r view.Rule) bool { return r.Command == "nft" }

// spelled is a rule as the command that shows it has it: iptables-save(8), or nft(8), where
// elements have braces.
func spelled(command, table, chain, rule string) string {
	switch {
	case command != "nft":
		return "-A " + chain + " " + rule
	case strings.HasPrefix(rule, "{"):
		return "element " + table + " " + chain + " " + rule
	}
	return "rule " + table + " " + chain + " " + rule
}

// printRules prints each rule as iptables-save(8) or nft(8) does, and why below it.
func printRules(w io.Writer, all view.Rules) {
	table := ""
	for _, r := range all.Rules {
		now := r.Command + " -t " + r.Table
		if inNftables(r) {
			now = r.Command + " list table " + r.Table
		}
		if now != table {
			if table != "" {
				fmt.Fprintln(w)
			}
			fmt.Fprintln(w, "# "+now)
			table = now
		}
		fmt.Fprintln(w, spelled(r.Command, r.Table, r.Chain, r.Rule))
		if r.Traffic != nil {
			fmt.Fprintf(w, "    %d packets, %d bytes\n", r.Traffic.Packets, r.Traffic.Bytes)
		}
		fmt.Fprintln(w, fold.Line("    "+r.Why+serves(r), "    ", fold.Width))
	}
}

// serves says whom a rule serves.
func serves(r view.Rule) string {
	switch {
	case r.Endpoint != "":
		return fmt.Sprintf(" For %s, of network %.12s.", cmp.Or(r.Name, "endpoint "+short(r.Endpoint)), r.Network)
	case r.Bridge != "":
		return fmt.Sprintf(" For network %s.", cmp.Or(r.Name, short(r.Network), r.Bridge))
	}
	return ""
}

func printRuleDiff(w io.Writer, all view.Rules) {
	signs := map[string]string{view.AddRule: "+", view.DeleteRule: "-", view.MoveRule: "~"}
	for _, d := range all.Differences {
		what := spelled(d.Command, d.Table, d.Chain, d.Rule)
		switch {
		case d.Chain == "":
			what = "table " + d.Table
		case d.Rule == "":
			what = "chain " + d.Chain
		}
		if d.Command != "nft" {
			what = "-t " + d.Table + " " + what
		}
		fmt.Fprintf(w, "%s %s %s\n", signs[d.Mend], d.Command, what)
		if d.Why != "" {
			fmt.Fprintln(w, fold.Line("    "+d.Why, "    ", fold.Width))
		}
	}
}
