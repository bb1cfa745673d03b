// Package host reads what package explain predicts from: the links, addresses, routes,
// sockets, settings and rules of network namespaces, as the kernel has them.
//
// Be aware: it needs root, for it enters namespaces (setns(2)). What is read one after the
// other may change meanwhile.
package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/explain"
)

// Place is a namespace to read.
type Place struct {
	Name string // what the World calls it
	Path string // a file of the namespace, such as /run/docker/netns/…; "": the caller's own

	spare bool // it is of nobody that was asked about
}

// Read reads everything but the rules. The first place is the host. Places that have ended
// meanwhile are not among those that it returns, nor are those that can't be read and that
// nobody has asked about: any user can make a namespace that changes all the time.
func Read(places []Place) (*explain.World, []Place, error) {
	w := &explain.World{}
	var there []Place
	for i, p := range places {
		s := &explain.Space{Name: p.Name}
		err := Inside(p, func() error { return readSpace(s) })
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			err = fmt.Errorf("read namespace %s: %w", p.Name, err)
		}
		if err != nil && (i == 0 || !p.spare) {
			return nil, nil, err
		}
		if err != nil {
			w.Unread = append(w.Unread, err.Error())
			continue
		}
		w.Spaces, there = append(w.Spaces, s), append(there, p)
	}
	return w, there, findPeers(w, there)
}

// Predict reads the rules of the namespaces that the packet passes, and no others, and
// follows it.
func Predict(ctx context.Context, w *explain.World, places []Place, q explain.Query, read map[string]bool) (explain.Result, error) {
	for {
		r := explain.Predict(w, q)
		var fresh []string
		passed := []string{w.Spaces[0].Name}
		for _, step := range r.Steps {
			passed = append(passed, step.Space)
		}
		for _, name := range passed {
			if !read[name] && !slices.Contains(fresh, name) {
				fresh = append(fresh, name)
			}
		}
		if len(fresh) == 0 {
			return r, nil
		}
		for i, s := range w.Spaces {
			if !slices.Contains(fresh, s.Name) {
				continue
			}
			if err := Inside(places[i], func() error { return readRules(ctx, s) }); err != nil {
				return r, fmt.Errorf("read rules of namespace %s: %w", s.Name, err)
			}
			read[s.Name] = true
		}
	}
}

// Inside calls fn on a thread that is in a namespace.
func Inside(p Place, fn func() error) error {
	if p.Path == "" {
		return fn()
	}
	ns, err := os.Open(p.Path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return enter(ns, fn)
}

// enter calls fn on a thread that is in a namespace, of which a file is open.
func enter(ns *os.File, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// inode tells namespaces apart (network_namespaces(7)).
func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// Namespaces finds every network namespace that has a process or is kept by Docker or
// ip-netns(8), but for the caller's own. named gives the name of one that is known by its
// file; others are named after a process.
func Namespaces(named map[string]string) ([]Place, error) {
	own, err := inode("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	seen := map[uint64]bool{own: true}
	var all []Place
	add := func(path, name string, spare bool) {
		n, err := inode(path)
		if err != nil || seen[n] { // one that has just ended
			return
		}
		seen[n] = true
		all = append(all, Place{Name: name, Path: path, spare: spare})
	}
	for path, name := range named {
		add(path, name, false)
	}
	for _, dir := range []string{"/run/docker/netns", "/run/netns"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		for _, e := range entries {
			if e.Type()&fs.ModeDir == 0 {
				add(filepath.Join(dir, e.Name()), "namespace "+e.Name(), true)
			}
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range processes {
		name, _ := os.ReadFile(dir + "/comm") // a process that has ended has none, and no namespace
		add(dir+"/ns/net", fmt.Sprintf("pid %s (%s)", filepath.Base(dir), strings.TrimSpace(string(name))), true)
	}
	return all, nil
}

// readSettings reads those that a prediction asks for.
func readSettings(s *explain.Space) error {
	s.Settings = map[string]string{}
	paths := []string{"ipv4/ip_local_port_range", "ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all",
		"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"}
	names := []string{"all"}
	for _, l := range s.Links {
		names = append(names, l.Name)
	}
	for _, name := range names {
		for _, setting := range []string{"forwarding", "rp_filter", "accept_local", "route_localnet", "arp_ignore", "proxy_arp"} {
			paths = append(paths, "ipv4/conf/"+name+"/"+setting)
		}
		for _, setting := range []string{"forwarding", "disable_ipv6"} {
			paths = append(paths, "ipv6/conf/"+name+"/"+setting)
		}
	}
	for _, path := range paths {
		// What is below /proc/sys/net is that of the thread that opens it.
		text, err := os.ReadFile("/proc/sys/net/" + path)
		switch {
		case err == nil:
			s.Settings[path] = strings.TrimSpace(string(text))
		case !os.IsNotExist(err): // without IPv6, or without br_netfilter
			return err
		}
	}
	return nil
}
