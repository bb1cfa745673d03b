package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/view"
)

// readRules reads the rules of the namespace that the calling thread is in.
func readRules(ctx context.Context, s *explain.Space) error {
	s.Filters, s.Foreign = nil, nil
	var unread []string // tables of the nf_tables variant that iptables has no words for
	for _, six := range []bool{false, true} {
		command, names := "iptables", "/proc/thread-self/net/ip_tables_names"
		if six {
			command, names = "ip6tables", "/proc/thread-self/net/ip6_tables_names"
		}
		nft, legacy, err := variants(ctx, command)
		if err != nil {
			return err
		}
		// To ask the legacy command makes tables that aren't there.
		if inUse, _ := os.ReadFile(names); legacy != "" && len(bytes.TrimSpace(inUse)) > 0 {
			for _, table := range strings.Fields(string(inUse)) {
				if err := save(ctx, s, legacy, six, "-c", "-t", table); err != nil {
					return err
				}
				s.Filters[len(s.Filters)-1].Legacy = true
			}
		}
		if nft == "" {
			continue
		}
		if err := save(ctx, s, nft, six, "-c"); err != nil {
			unread = append(unread, err.Error())
		}
	}
	if len(unread) > 0 {
		return errors.New(strings.Join(unread, "; "))
	}
	foreign, err := foreignChains(ctx)
	s.Foreign = foreign
	return err
}

// Counted is what each rule of the caller's namespace has seen; of one that is there several
// times, all together.
func Counted(ctx context.Context) (map[explain.RuleKey]view.Counted, error) {
	var s explain.Space
	if err := readRules(ctx, &s); err != nil {
		return nil, err
	}
	all := map[explain.RuleKey]view.Counted{}
	for _, f := range s.Filters {
		for _, t := range f.Tables {
			for _, c := range t.Chains {
				for _, r := range c.Rules {
					key := explain.RuleKey{Six: f.Six, Table: t.Name, Chain: c.Name, Rule: r.Text}
					was := all[key]
					all[key] = view.Counted{Packets: was.Packets + r.Packets, Bytes: was.Bytes + r.Bytes}
				}
			}
		}
	}
	return all, nil
}

// variants finds the commands of both variants of iptables; "": it isn't installed.
func variants(ctx context.Context, command string) (nft, legacy string, err error) {
	for _, name := range []string{command, command + "-nft", command + "-legacy"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := run(ctx, path, "--version")
		if err != nil {
			return "", "", err
		}
		switch isNFT := strings.Contains(out, "nf_tables"); {
		case isNFT && nft == "":
			nft = path
		case !isNFT && legacy == "":
			legacy = path
		}
	}
	return nft, legacy, nil
}

// save reads what COMMAND-save prints.
func save(ctx context.Context, s *explain.Space, command string, six bool, args ...string) error {
	out, err := run(ctx, command+"-save", args...)
	if err != nil {
		return err
	}
	f, err := explain.ParseSave(command[strings.LastIndexByte(command, '/')+1:], six, out)
	if err != nil {
		return err
	}
	if len(f.Tables) > 0 {
		s.Filters = append(s.Filters, f)
	}
	return nil
}

func run(ctx context.Context, command string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", command, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// ruleset is what nft --json list ruleset prints (libnftables-json(5)).
type ruleset struct {
	Nftables []struct {
		Chain *struct{ Family, Table, Name, Hook, Policy string }
		Rule  *struct {
			Family, Table string
			Expr          []map[string]json.RawMessage
		}
	}
}

// foreignChains lists the base chains of nf_tables that iptables doesn't show and that can
// decide something: chains of iptables' tables have the names that it gives them. A host
// without nft(8) has none that a program could have made by it.
func foreignChains(ctx context.Context) ([]explain.Foreign, error) {
	path, err := exec.LookPath("nft")
	if err != nil {
		return nil, nil
	}
	out, err := run(ctx, path, "--json", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	var all ruleset
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("nft --json list ruleset: %w", err)
	}
	effective := map[[2]string]bool{} // tables with rules that can do something
	for _, e := range all.Nftables {
		if e.Rule != nil && !harmless(e.Rule.Expr) {
			effective[[2]string{e.Rule.Family, e.Rule.Table}] = true
		}
	}
	var foreign []explain.Foreign
	for _, e := range all.Nftables {
		c := e.Chain
		if c == nil || c.Hook == "" || !slices.Contains([]string{"ip", "ip6", "inet"}, c.Family) || iptables(c.Family, c.Table) {
			continue
		}
		if c.Policy == "drop" || effective[[2]string{c.Family, c.Table}] {
			foreign = append(foreign, explain.Foreign{Family: c.Family, Table: c.Table, Chain: c.Name, Hook: c.Hook})
		}
	}
	return foreign, nil
}

// iptables reports whether a table is one of those that iptables shows.
func iptables(family, table string) bool {
	return family != "inet" && slices.Contains([]string{"raw", "mangle", "nat", "filter", "security"}, table)
}

// harmless reports whether a rule only looks, or accepts for its own chain, which decides
// nothing for the others (nft(8), VERDICT STATEMENT).
func harmless(statements []map[string]json.RawMessage) bool {
	for _, s := range statements {
		for what := range s {
			if !slices.Contains([]string{"match", "counter", "log", "limit", "accept", "continue", "return", "comment"}, what) {
				return false
			}
		}
	}
	return true
}
