// Package unit reads mybr's systemd unit: what tests give to mybr, and expect of others, is
// what the unit leaves to it, and not a list of their own.
package unit

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// Unit is a unit file (systemd.syntax(7)).
type Unit struct {
	path     string
	settings map[string][]string // of all sections, name → values in their order
}

// Read reads a unit file.
func Read(path string) (*Unit, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	options, err := unit.DeserializeOptions(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	u := &Unit{path: path, settings: map[string][]string{}}
	for _, o := range options {
		u.settings[o.Name] = append(u.settings[o.Name], o.Value)
	}
	return u, nil
}

// words is the words of all values of a setting.
func (u *Unit) words(name string) (words []string) {
	for _, value := range u.settings[name] {
		words = append(words, strings.Fields(value)...)
	}
	return words
}

// Capabilities is the capability bounding set, sorted.
func (u *Unit) Capabilities() ([]capability.Cap, error) {
	names := map[string]capability.Cap{}
	for _, c := range capability.ListKnown() {
		names["CAP_"+strings.ToUpper(c.String())] = c
	}
	var found []capability.Cap
	for _, word := range u.words("CapabilityBoundingSet") {
		c, ok := names[word]
		if !ok {
			return nil, fmt.Errorf("%s: CapabilityBoundingSet has %q: want names of capabilities", u.path, word)
		}
		found = append(found, c)
	}
	if _, ok := u.settings["CapabilityBoundingSet"]; !ok {
		return nil, fmt.Errorf("%s: there is no CapabilityBoundingSet", u.path) // which would leave all
	}
	slices.Sort(found)
	return found, nil
}

// Families is the numbers of the address families of sockets, sorted.
func (u *Unit) Families() ([]int, error) {
	numbers := map[string]int{
		"AF_UNIX": unix.AF_UNIX, "AF_INET": unix.AF_INET, "AF_INET6": unix.AF_INET6,
		"AF_NETLINK": unix.AF_NETLINK, "AF_PACKET": unix.AF_PACKET,
	}
	var found []int
	for _, word := range u.words("RestrictAddressFamilies") {
		n, ok := numbers[word]
		if !ok {
			return nil, fmt.Errorf("%s: RestrictAddressFamilies has %q: want one of %v", u.path, word, slices.Sorted(maps.Keys(numbers)))
		}
		found = append(found, n)
	}
	slices.Sort(found)
	return found, nil
}

// Syscalls is the names of the system calls that are allowed, sorted. The members of groups
// such as @system-service are those that systemd-analyze(1) lists.
func (u *Unit) Syscalls() ([]string, error) {
	groups, err := syscallGroups()
	if err != nil {
		return nil, err
	}
	// What systemd allows behind any list: SystemCallFilter in systemd.exec(5).
	allowed := map[string]bool{}
	for _, name := range expand(groups, "@default") {
		allowed[name] = true
	}
	for _, line := range u.settings["SystemCallFilter"] {
		list, deny := strings.CutPrefix(line, "~")
		for _, word := range strings.Fields(list) {
			names := expand(groups, word)
			if len(names) == 0 {
				return nil, fmt.Errorf("%s: SystemCallFilter has %q, which systemd-analyze does not know", u.path, word)
			}
			for _, name := range names {
				allowed[name] = !deny
			}
		}
	}
	maps.DeleteFunc(allowed, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(allowed)), nil
}

// expand is the system calls of a group, those of groups in it too; or just the name.
func expand(groups map[string][]string, name string) (names []string) {
	if !strings.HasPrefix(name, "@") {
		return []string{name}
	}
	for _, member := range groups[name] {
		names = append(names, expand(groups, member)...)
	}
	return names
}

// syscallGroups is systemd's groups of system calls. Each begins with its name in a line of
// its own; its members are indented, and so is a comment.
func syscallGroups() (map[string][]string, error) {
	out, err := exec.Command("systemd-analyze", "syscall-filter", "--no-pager").Output()
	if err != nil {
		return nil, fmt.Errorf("ask systemd-analyze (package systemd) for the groups of system calls: %w", err)
	}
	groups, group := map[string][]string{}, ""
	for line := range strings.Lines(string(out)) {
		word := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "@"):
			group = word
		case strings.HasPrefix(line, "#"):
			group = "" // what the kernel has and no group
		case word != "" && !strings.HasPrefix(word, "#") && group != "":
			groups[group] = append(groups[group], word)
		}
	}
	return groups, nil
}
