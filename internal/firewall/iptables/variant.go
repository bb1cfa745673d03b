package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-iptables/iptables"
)

// lockWait is how long a single command waits for the lock that all iptables commands
// of the legacy variant share, in seconds. What waits longer has met somebody who
// holds it for good. iptables-restore waits as long as its context lasts.
const lockWait = 10

// legacyTables lists the legacy tables in use in the namespace of the calling thread.
// To ask iptables-legacy itself would load the module and make the table (x_tables).
const legacyTables = "/proc/thread-self/net/ip_tables_names"

// variant is one of the two implementations of iptables.
type variant struct {
	legacy  bool
	command string // path of iptables; those of -save and -restore are this with the suffix
	ipt     *iptables.IPTables
}

func (v *variant) String() string { return filepath.Base(v.command) }

// findVariants returns the implementations that are installed, the one that the
// command `iptables` is first.
func findVariants(dir string) ([]*variant, error) {
	var found []*variant
	for _, name := range []string{"iptables", "iptables-nft", "iptables-legacy"} {
		path, err := lookPath(dir, name)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", name, err)
		}
		version, err := exec.Command(path, "--version").Output()
		if err != nil {
			return nil, fmt.Errorf("%s --version: %w", path, err)
		}
		// Before 1.8 there was only the legacy variant, and no word on it (iptables(8)).
		legacy := !strings.Contains(string(version), "nf_tables")
		if slices.ContainsFunc(found, func(v *variant) bool { return v.legacy == legacy }) {
			continue
		}
		ipt, err := iptables.New(iptables.Path(path), iptables.Timeout(lockWait))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		found = append(found, &variant{legacy, path, ipt})
	}
	if len(found) == 0 {
		return nil, errors.New("neither iptables nor iptables-nft nor iptables-legacy is installed")
	}
	return found, nil
}

func lookPath(dir, name string) (string, error) {
	if dir != "" {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// unused reports that the variant has no such table, without making one.
func (v *variant) unused(table string) bool {
	if !v.legacy {
		return false
	}
	names, err := os.ReadFile(legacyTables)
	if errors.Is(err, fs.ErrNotExist) {
		return true // the module isn't loaded
	}
	return err == nil && !slices.Contains(strings.Fields(string(names)), table)
}

// read returns the tables that mybr has rules in.
func (v *variant) read(ctx context.Context) (saved, error) {
	tables := []string{"filter", "nat"}
	var text strings.Builder
	for _, t := range tables {
		if v.unused(t) {
			continue
		}
		out, err := run(ctx, "", v.command+"-save", "-t", t)
		if err != nil {
			return saved{}, fmt.Errorf("%s-save -t %s: %w", v, t, err)
		}
		text.WriteString(out)
	}
	return parseSave(text.String(), tables...), nil
}

// restore changes what the input names and leaves the rest (--noflush); each table is
// committed at once. It waits for the lock as long as the context lasts.
func (v *variant) restore(ctx context.Context, input string) error {
	if input == "" {
		return nil
	}
	if _, err := run(ctx, input, v.command+"-restore", "--noflush", "--wait"); err != nil {
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

// run executes a command and returns what it printed. Its complaint is in the error. The
// command ends with this process: one that still waited for the lock would apply an old
// difference after the next process has read the rules.
func run(ctx context.Context, input, command string, args ...string) (string, error) {
	runtime.LockOSThread() // Pdeathsig is about the thread that started the command (prctl(2))
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		complaint := strings.Join(strings.FieldsFunc(stderr.String(), func(r rune) bool { return r == '\n' }), "; ")
		if complaint == "" {
			return "", err
		}
		return "", fmt.Errorf("%w: %s", err, complaint)
	}
	return stdout.String(), nil
}

// dockerJumps lists the unconditional jumps to Docker's chains in FORWARD, of all
// variants: it changes when Docker starts, or moves to another variant.
func dockerJumps(ctx context.Context, variants []*variant) (string, error) {
	var out strings.Builder
	for _, v := range variants {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		var rules []string
		if !v.unused("filter") {
			lines, err := v.ipt.List("filter", "FORWARD")
			if err != nil {
				return "", err
			}
			for _, l := range lines {
				rules = append(rules, strings.TrimPrefix(l, "-A FORWARD "))
			}
		}
		writeDockerJumps(&out, v, rules)
	}
	return out.String(), nil
}

func writeDockerJumps(out *strings.Builder, v *variant, forward []string) {
	fmt.Fprintf(out, "%s:", v)
	for _, r := range forward {
		if target, ok := unconditional(r); ok && strings.HasPrefix(target, dockerPrefix) {
			fmt.Fprintf(out, " %s", target)
		}
	}
	out.WriteString("\n")
}
