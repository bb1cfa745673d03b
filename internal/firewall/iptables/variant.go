package iptables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// probeWithin bounds each command by which the variants are looked for: what takes longer
// waits for a lock that another program keeps. Everything else ends with its context.
const probeWithin = 10 * time.Second

// variant is one of the two implementations of iptables, for one address family.
type variant struct {
	inUse   string // lists the family's legacy tables
	legacy  bool
	command string // path of iptables; those of -save and -restore are this with the suffix
	*commands
}

func (v *variant) String() string { return filepath.Base(v.command) }

// findVariants returns a family's implementations that are installed, the one that the
// command without a suffix is first.
func findVariants(c *commands, dir string, fam family) ([]*variant, error) {
	var paths []string
	names := []string{fam.command, fam.command + "-nft", fam.command + "-legacy"}
	for _, name := range names {
		path, err := lookPath(dir, name)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", name, err)
		}
		paths = append(paths, path)
	}
	versions, err := c.versionsOf(paths)
	if err != nil {
		return nil, err
	}
	var found []*variant
	for i, path := range paths {
		// Before 1.8 there was only the legacy variant, and no word on it (iptables(8)).
		legacy := !strings.Contains(versions[i], "nf_tables")
		if slices.ContainsFunc(found, func(v *variant) bool { return v.legacy == legacy }) {
			continue
		}
		found = append(found, &variant{fam.inUse, legacy, path, c})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("neither %s is installed", strings.Join(names, " nor "))
	}
	return found, nil
}

// versionsOf returns what commands say of themselves: they are asked side by side, and each
// program once.
func (c *commands) versionsOf(paths []string) ([]string, error) {
	programs := make([]string, len(paths))
	var asked []string
	var calls []call
	for i, path := range paths {
		programs[i] = programOf(path)
		if _, known := c.versions[programs[i]]; !known && !slices.Contains(asked, programs[i]) {
			asked, calls = append(asked, programs[i]), append(calls, call{command: path, args: []string{"--version"}})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeWithin)
	defer cancel()
	printed, errs := c.runAll(ctx, calls)
	if c.versions == nil {
		c.versions = map[string]string{}
	}
	for i, program := range asked {
		if errs[i] != nil {
			return nil, fmt.Errorf("%s --version: %w", calls[i].command, errs[i])
		}
		c.versions[program] = printed[i]
	}
	versions := make([]string, len(paths))
	for i, program := range programs {
		versions[i] = c.versions[program]
	}
	return versions, nil
}

// programOf returns the file that a command is. Those of iptables itself have one variant
// each, for both families, whatever they are called by: xtables-nft-multi and
// xtables-legacy-multi (iptables/Makefile.am). Any other file stands for the command alone.
func programOf(path string) string {
	file, err := filepath.EvalSymlinks(path)
	if name := filepath.Base(file); err != nil || !strings.HasPrefix(name, "xtables-") || !strings.HasSuffix(name, "-multi") {
		return path
	}
	return file
}

// usableIPv6 returns IPv6's implementations, or why it can't be filtered: the kernel has
// no IPv6 (proc(5), if_inet6), no command is installed, or the kernel takes none of them.
// proc is the calling thread's /proc/net.
func usableIPv6(c *commands, dir, proc string) ([]*variant, error) {
	if _, err := os.Stat(filepath.Join(proc, "if_inet6")); err != nil {
		return nil, fmt.Errorf("the kernel has no IPv6: %w", err)
	}
	variants, err := findVariants(c, dir, ipv6())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeWithin)
	defer cancel()
	var failed []error
	for _, v := range variants {
		_, err := v.save(ctx, ownTables())
		if err == nil {
			return variants, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

func lookPath(dir, name string) (string, error) {
	if dir != "" {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// unused reports that the variant has no such table. To ask the legacy command itself
// would load the module and make the table (x_tables).
func (v *variant) unused(table string) bool {
	if !v.legacy {
		return false
	}
	names, err := os.ReadFile(v.inUse)
	if errors.Is(err, fs.ErrNotExist) {
		return true // the module isn't loaded
	}
	return err == nil && !slices.Contains(strings.Fields(string(names)), table)
}

// ownTables are those that mybr has rules in.
func ownTables() []string { return []string{"filter", "nat"} }

// read returns the tables that mybr has rules in.
func (v *variant) read(ctx context.Context) (saved, error) {
	text, err := v.save(ctx, slices.DeleteFunc(ownTables(), v.unused))
	return parseSave(text, ownTables()...), err
}

// save is what iptables-save prints of some tables. It makes those that are missing.
func (v *variant) save(ctx context.Context, tables []string) (string, error) {
	var calls []call
	for _, t := range tables {
		calls = append(calls, call{command: v.command + "-save", args: []string{"-t", t}})
	}
	if v.legacy {
		// One behind the other: the kernel makes a table when it is asked for, and processes that
		// have it make several at a time disturb each other.
		var all []string
		for i, c := range calls {
			printed, err := v.run(ctx, "", c.command, c.args...)
			if err != nil {
				return "", fmt.Errorf("%s-save -t %s: %w", v, tables[i], err)
			}
			all = append(all, printed)
		}
		return strings.Join(all, ""), nil
	}
	printed, errs := v.runAll(ctx, calls)
	for i, err := range errs {
		if err != nil {
			return "", fmt.Errorf("%s-save -t %s: %w", v, tables[i], err)
		}
	}
	return strings.Join(printed, ""), nil
}

// restore changes what the input names and leaves the rest (--noflush); each table is
// committed at once. It waits for the lock as long as the context lasts.
func (v *variant) restore(ctx context.Context, input string) error {
	if input == "" {
		return nil
	}
	if _, err := v.run(ctx, input, v.command+"-restore", "--noflush", "--wait"); err != nil {
		return fmt.Errorf("%s-restore: %w%s", v, err, offender(err, input))
	}
	return nil
}

// offender is the line of the input that the error names: " (line 3: …)".
func offender(err error, input string) string {
	m := regexp.MustCompile(`(?i)line:? (\d+)`).FindStringSubmatch(err.Error())
	if m == nil {
		return ""
	}
	n, _ := strconv.Atoi(m[1])
	lines := strings.Split(input, "\n")
	if n < 1 || n > len(lines) {
		return ""
	}
	return fmt.Sprintf(" (line %d: %s)", n, lines[n-1])
}

// readDocker returns what is Docker's in the filter tables of all variants, see describeDocker.
func readDocker(ctx context.Context, variants []*variant) (string, error) {
	var all []found
	for _, v := range variants {
		f := found{v, parseSave("", "filter")}
		if !v.unused("filter") {
			var err error
			if f.saved, err = v.readLeads(ctx); err != nil {
				return "", err
			}
		}
		all = append(all, f)
	}
	return describeDocker(all), nil
}

// readLeads reads the chains that leads names, one after the other: of all others there may be
// thousands, of mybr's and of Docker's.
func (v *variant) readLeads(ctx context.Context) (s saved, err error) {
	text := "*filter\n"
	for read := 0; ; read++ {
		s = parseSave(text, "filter")
		chains := s.leads()
		if read == len(chains) {
			return s, nil
		}
		rules, err := v.run(ctx, "", v.command, "--wait", "--table", "filter", "--list-rules", chains[read])
		if err != nil {
			return s, fmt.Errorf("%s --list-rules %s: %w", v, chains[read], err)
		}
		text += rules + "\n"
	}
}
