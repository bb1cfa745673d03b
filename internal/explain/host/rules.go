package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/view"
)

// readRules reads the rules of the namespace that the calling thread is in.
func readRules(ctx context.Context, s *explain.Space) error {
	s.Filters, s.Natives, s.Untold = nil, nil, ""
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
	return readNatives(ctx, s)
}

// Counted is what each rule of the caller's namespace has seen, and each element of nf_tables'
// maps and sets, if it counts; of a rule that is there several times, all together.
func Counted(ctx context.Context) (map[explain.RuleKey]view.Counted, error) {
	var s explain.Space
	if err := readRules(ctx, &s); err != nil {
		return nil, err
	}
	if s.Untold != "" {
		return nil, errors.New(s.Untold)
	}
	all := map[explain.RuleKey]view.Counted{}
	add := func(key explain.RuleKey, packets, bytes uint64) {
		was := all[key]
		all[key] = view.Counted{Packets: was.Packets + packets, Bytes: was.Bytes + bytes}
	}
	for _, f := range s.Filters {
		for _, t := range f.Tables {
			for _, c := range t.Chains {
				for _, r := range c.Rules {
					add(explain.RuleKey{Six: f.Six, Table: t.Name, Chain: c.Name, Rule: r.Text}, r.Packets, r.Bytes)
				}
			}
		}
	}
	for _, t := range s.Natives {
		for key, c := range t.Counted() {
			add(key, c.Packets, c.Bytes)
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

// readNatives reads what nf_tables has and iptables doesn't show. What can't be read is said.
func readNatives(ctx context.Context, s *explain.Space) error {
	tables, err := nativeTables()
	if err != nil || len(tables) == 0 {
		return err
	}
	path, err := exec.LookPath("nft")
	if err != nil {
		s.Untold = fmt.Sprintf("%s has rules of nf_tables (table %s), which are read by nft, and that is not installed", s.Name, tables[0])
		return nil
	}
	if i := slices.IndexFunc(tables, func(t string) bool { return !listable.MatchString(t) }); i >= 0 {
		s.Untold = fmt.Sprintf("%s has a table of nf_tables whose name nft does not read: %q", s.Name, tables[i])
		return nil
	}
	if s.Natives, err = list(ctx, path, tables); err != nil {
		s.Untold = fmt.Sprintf("what %s has in nf_tables can't be read: %v", s.Name, err)
	}
	return nil
}

// listable is a table that nft(8) has words for: another name could be one more command.
var listable = regexp.MustCompile(`^[a-z0-9]+ [A-Za-z_][A-Za-z0-9_./-]*$`)

// list reads tables, each by itself: nft 1.0.6 prints no valid JSON of those that have an owner,
// as mybr's own table has that keeps flows going, and lists one table at a time.
func list(ctx context.Context, nft string, tables []string) ([]*explain.Native, error) {
	var l explain.Listed
	for _, table := range tables {
		words := append([]string{"list", "table"}, strings.Fields(table)...)
		document, err := run(ctx, nft, append([]string{"--json"}, words...)...)
		if err != nil {
			return nil, err
		}
		text, err := run(ctx, nft, append([]string{"--handle", "--stateless", "--terse"}, words...)...)
		if err != nil {
			return nil, err
		}
		if l.JSON, l.Text = l.JSON+document, l.Text+text; !explain.NeedsCode(document) {
			continue
		}
		code, err := run(ctx, nft, append([]string{"--debug=netlink"}, words...)...)
		if err != nil {
			return nil, err
		}
		l.Code += code
	}
	return explain.ParseNative(l, iptables)
}

// iptables reports whether a table is one of those that iptables shows.
func iptables(family, table string) bool {
	return family != "inet" && slices.Contains([]string{"raw", "mangle", "nat", "filter", "security"}, table)
}
