// Command table runs the tests that have rows in package reliability and writes
// docs/reliability.md from what they record. It runs at the top of the module, as
// `make reliability` has it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/mybr/mybr/integration/reliability"
	"golang.org/x/sys/unix"
)

const document = "docs/reliability.md"

func main() {
	count := flag.Int("count", 1, "how often each test runs")
	only := flag.String("run", "", "only tests whose names match this regular expression; the other rows stay as they are")
	flag.Parse()
	if err := run(*count, *only); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

// run runs the tests and writes the document, even if some of them fail: it says so then.
func run(count int, only string) error {
	path, err := filepath.Abs(reliability.File)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	names, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var failed error
	ran := byPackage(names)
	for pkg, tests := range ran {
		cmd := exec.Command("go", "test", "./"+pkg, fmt.Sprint("-count=", count), "-timeout=90m",
			"-run=^("+strings.Join(tests, "|")+")$")
		cmd.Env = append(os.Environ(), reliability.FileEnv+"="+path)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		fmt.Println(strings.Join(cmd.Args, " "))
		if err := cmd.Run(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("go test ./%s: %w", pkg, err))
		}
	}
	return errors.Join(failed, write(path, ran))
}

// write writes the document. Rows of tests that did not run keep what the document says of
// them.
func write(record string, ran map[string][]string) error {
	attempts, err := reliability.Attempts(record)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(document)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	seen, err := reliability.ParseDocument(string(old))
	if err != nil {
		return fmt.Errorf("read %s: %w", document, err)
	}
	renew(seen, attempts, ran)
	host, err := machine()
	if err != nil {
		return err
	}
	return os.WriteFile(document, []byte(reliability.Document(seen, host)), 0o644)
}

// renew puts what was measured in the place of what the document says. A row whose test ran
// and did not come to it was not tried, whatever it was before.
func renew(seen map[string]reliability.Measured, attempts []reliability.Attempt, ran map[string][]string) {
	for _, r := range reliability.Rows() {
		if slices.Contains(ran[r.Package()], topOf(r.Test)) {
			delete(seen, r.Fault)
		}
	}
	maps.Copy(seen, reliability.Measure(attempts))
}

// topOf is the name of the test that a row's test is, or is a subtest of.
func topOf(test string) string {
	name, _, _ := strings.Cut(test, "/")
	return name
}

// byPackage is the tests that have rows, by their package's directory. Rows of a test's
// table need no names: each runs with the test.
func byPackage(only *regexp.Regexp) map[string][]string {
	tests := map[string][]string{}
	for _, r := range reliability.Rows() {
		name := topOf(r.Test)
		if only.MatchString(r.Test) && !slices.Contains(tests[r.Package()], name) {
			tests[r.Package()] = append(tests[r.Package()], name)
		}
	}
	return tests
}

// machine is what the times were measured on.
func machine() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	model := "unknown"
	for line := range strings.Lines(string(cpus)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("a machine with %d processors (%s), Linux %s", runtime.NumCPU(), model, unix.ByteSliceToString(u.Release[:])), nil
}
