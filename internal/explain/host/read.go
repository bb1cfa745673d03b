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
	"os"
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

	spare  bool     // it is of nobody that was asked about
	inode  uint64   // of the namespace, by which it is known again; 0: it isn't known
	others []string // further files of it: a process may end before its namespace does
}

// Read reads everything but the rules. The first place is the host. Places that have ended
// meanwhile are not among those that it returns, and nothing is missing without them: pairs
// end with a namespace. Nor are those that can't be read and that nobody has asked about: any
// user can make a namespace that changes all the time.
func Read(places []Place) (*explain.World, []Place, error) {
	w := &explain.World{}
	var there []Place
	var open []*os.File // all of them until the end: what a namespace is called in others is asked for by a file
	defer func() {
		for _, ns := range open {
			ns.Close()
		}
	}()
	for i, p := range places {
		s := &explain.Space{Name: p.Name, Path: p.Path}
		ns, err := p.open()
		if i > 0 && errors.Is(err, errEnded) {
			continue
		}
		if err == nil {
			if err = enter(ns, func() error { return readSpace(s) }); err != nil {
				ns.Close()
			}
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
		w.Spaces, there, open = append(w.Spaces, s), append(there, p), append(open, ns)
	}
	return w, there, findPeers(w, open)
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
			if err := Inside(places[i], func() error { return errors.Join(readRules(ctx, s), readLow(ctx, s)) }); err != nil {
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
	ns, err := p.open()
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
		for _, setting := range []string{"forwarding", "rp_filter", "accept_local", "route_localnet", "src_valid_mark", "arp_ignore", "proxy_arp"} {
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
