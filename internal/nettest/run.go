package nettest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Run executes a command in the namespace and returns what it wrote to both of its
// outputs. A failure fails the test.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.Try(name, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// Feed is Run for a command that reads something.
func (h *Host) Feed(input, name string, args ...string) string {
	h.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := h.try(cmd)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, input)
	}
	return out
}

// Try is Run for commands that may fail.
func (h *Host) Try(name string, args ...string) (string, error) {
	h.t.Helper()
	return h.try(exec.Command(name, args...))
}

func (h *Host) try(cmd *exec.Cmd) (string, error) {
	h.t.Helper()
	var out []byte
	var err error
	h.In(func() { out, err = cmd.CombinedOutput() })
	if err != nil {
		err = fmt.Errorf("%s: %s: %w: %s", h.Name, strings.Join(cmd.Args, " "), err, out)
	}
	return string(out), err
}

// Sysctl writes a setting, such as "net/ipv4/ip_forward".
func (h *Host) Sysctl(path, value string) {
	h.t.Helper()
	h.In(func() {
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
			h.t.Fatalf("%s: %v", h.Name, err)
		}
	})
}

// ReadSysctl returns a setting without the line end.
func (h *Host) ReadSysctl(path string) string {
	h.t.Helper()
	var value []byte
	h.In(func() {
		var err error
		if value, err = os.ReadFile(filepath.Join("/proc/sys", path)); err != nil {
			h.t.Fatalf("%s: %v", h.Name, err)
		}
	})
	return strings.TrimSpace(string(value))
}
