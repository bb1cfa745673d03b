// Package watch tells what other programs change on the host while it happens: links and
// their addresses, forwarding, and the rules of nf_tables.
//
// The kernel tells it (rtnetlink(7), and the multicast group NFNLGRP_NFTABLES of
// NETLINK_NETFILTER), so that nothing is read and nothing is asked for while nothing
// changes. What a change means is not known here: whom it may concern is called, at once
// and from one goroutine for each socket.
//
// Be aware: the kernel drops events of a socket whose reader is too slow. Then Lost is
// called, and everything may have changed.
//
// Be aware: rules of the legacy variant of iptables change without a word of the kernel's,
// and so do settings of links.
package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config is who is called; every field is needed. None of the functions may wait for long:
// what comes meanwhile is kept in the socket's buffer, receiveBuffer bytes of it.
type Config struct {
	// Link is told of a link that was made, deleted or changed, or one of whose addresses
	// was; of one that was renamed by both names.
	Link func(name string)
	// ForwardingOff is told that the host as a whole has ceased to forward IPv4 or IPv6.
	ForwardingOff func(ipv6 bool)
	// Matters reports whether a change of rules is one to tell of; it is not asked about
	// more changes of a transaction once it has said yes.
	Matters func(RuleChange) bool
	// Own reports whether the process is one whose changes are not to be told of. Outside of
	// the kernel's first PID namespace pid is the address of its socket, which is its PID as a
	// rule (netlink(7)).
	Own func(pid int) bool
	// Rules is told who has committed a transaction with a change that matters.
	Rules func(by Process)
	// LostLinks and LostRules are told that events were lost: of links, addresses and
	// forwarding, or of rules.
	LostLinks, LostRules func()
	// Warn is told why a source of events can't be read; it is tried again.
	Warn func(format string, args ...any)
}

// RuleChange is one table, chain, rule or other object of nf_tables that was made, changed
// or deleted.
type RuleChange struct {
	Table string // such as "filter"
	Chain string // of the rule, or the chain itself; "": a table, or something else
	// Message is the rest of what the kernel says, as netlink attributes. The names of
	// chains that a rule leads to are in it as they are.
	Message []byte
}

// Process is who has changed rules.
type Process struct {
	PID  int    // in the PID namespace of the host; 0: the kernel does not say
	Name string // its command, up to 15 bytes of it
}

func (p Process) String() string {
	if p.PID == 0 {
		return "an unknown process"
	}
	return fmt.Sprintf("%s (pid %d)", p.Name, p.PID)
}

// A source that can't be read is tried again after firstRetry, and then twice as long each
// time, up to lastRetry.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Watcher has the sockets.
type Watcher struct {
	cfg   Config
	links *socket
	rules *socket

	mu      sync.Mutex
	trouble map[string]error // by what is not told of; nil: it is
}

// Trouble returns why some changes are not told of at present; nil if all are.
func (w *Watcher) Trouble() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.trouble["links"], w.trouble["rules"])
}

// Open subscribes to the events of the network namespace of the calling thread: what
// happens from now on is told of by Run. It needs CAP_NET_ADMIN.
func Open(cfg Config) (*Watcher, error) {
	links, err := subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	if err != nil {
		return nil, fmt.Errorf("watch links: %w", err)
	}
	rules, err := subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch rules: %w", err), links.Close())
	}
	return &Watcher{cfg: cfg, links: links, rules: rules, trouble: map[string]error{}}, nil
}

// Run tells of what changes until ctx ends, and closes the sockets.
func (w *Watcher) Run(ctx context.Context) {
	var running sync.WaitGroup
	links := &linkReader{cfg: w.cfg, socket: w.links}
	rules := &ruleReader{cfg: w.cfg, hostPIDs: hasHostPIDs()}
	running.Go(func() { w.read(ctx, w.links, "links", links.handle, links.begin, w.cfg.LostLinks) })
	running.Go(func() { w.read(ctx, w.rules, "rules", rules.handle, rules.begin, w.cfg.LostRules) })
	<-ctx.Done()
	w.links.Close()
	w.rules.Close()
	running.Wait()
}

// read reads one socket until ctx ends. begin is called at first, and after events were
// lost or could not be read.
func (w *Watcher) read(ctx context.Context, s *socket, of string, handle func(message), begin func() error, lost func()) {
	delay, logged := firstRetry, ""
	err := begin()
	for ctx.Err() == nil {
		if err == nil {
			w.note(of, nil)
			delay = firstRetry
			err = s.drain(handle) // until something goes wrong
		}
		if !errors.Is(err, unix.ENOBUFS) && ctx.Err() == nil {
			w.note(of, err)
			if err.Error() != logged {
				w.cfg.Warn("changes of %s by other programs are not noticed at once, until this ends: %v", of, err)
				logged = err.Error()
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(delay):
			}
			delay = min(2*delay, lastRetry)
		}
		if ctx.Err() == nil {
			lost()
			err = begin()
		}
	}
}

// drain has every event handled until one can't be read.
func (s *socket) drain(handle func(message)) error {
	for {
		all, err := s.receive()
		if err != nil {
			return err
		}
		for _, m := range all {
			handle(m)
		}
	}
}

// note keeps why changes are not told of; nil: they are.
func (w *Watcher) note(of string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.trouble[of] = err; err != nil {
		w.trouble[of] = fmt.Errorf("%s: %w", of, err)
	}
}
