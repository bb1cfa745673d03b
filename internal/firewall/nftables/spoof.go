package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/spoof"
)

// Spoof has ports of bridges send only from their own addresses, by a table of its own in the
// family "bridge" of nf_tables. It does so whichever backend filters packets.
//
// Frames meet the table as they come from a port, before the bridge learns from them who is
// where, and before anything else sees them. What comes from a port that is not checked leaves
// the table after one lookup, whatever ports there are.
//
// The table is taken for mybr's, with all that is in it.
//
// Be aware: links are known by their names. A port that leaves its bridge and comes back is
// checked as before, and one that is not there yet is checked from its first frame on.
type Spoof struct {
	// Isolate has bridges keep these ports apart, before the table has no list any more of the network
	// that they are of. A port that is not there, or is none of a bridge, is no error. With nil nobody
	// does.
	Isolate func(ctx context.Context, links []string) error
	// Kept is told of ports that bridges may keep apart since then, where the table could not be
	// changed: whoever has brought ports about knows nothing of it. It must not wait. With nil nobody
	// is told.
	Kept func(links []string)

	mu      sync.Mutex // held while the table is read or written
	sockets sockets
	lacks   error // why nothing can be checked; nil: it can
}

// probeWithin bounds NewSpoof. The kernel has one lock for all changes of nf_tables, which others
// hold for seconds at worst.
const probeWithin = 10 * time.Second

// NewSpoof finds out whether the kernel can do it (Lacks). If that can't be found out now, it
// warns, and takes it that it can: what is to be checked is closed then until it is. warn is as
// log.Printf.
func NewSpoof(warn func(format string, args ...any)) *Spoof {
	s := &Spoof{}
	if err := s.probe(); lacking(err) {
		s.lacks = fmt.Errorf("the kernel can't filter by nf_tables on bridges (CONFIG_NF_TABLES_BRIDGE, with sets that have counters: Linux 5.7): %w", err)
	} else if err != nil {
		warn("whether it can be checked who sends is not known, so ports that are to be checked wait until it works: %v", err)
	}
	return s
}

// lacking reports whether errors, all of them, say that the kernel hasn't got what it was asked
// for: nfnetlink itself (socket(2)), nf_tables or its family (nfnetlink_rcv_batch and
// nf_tables_newtable of the kernel), an expression or a module of one, or an attribute that it
// does not know. That it has no memory, no descriptors or no permission for mybr says nothing of
// the kind; and what fails because something else has failed before says ENOENT, too.
func lacking(err error) bool {
	switch err := err.(type) {
	case unix.Errno:
		return slices.Contains([]unix.Errno{unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ENOENT, unix.EINVAL}, err)
	case interface{ Unwrap() error }:
		return lacking(err.Unwrap())
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(err.Unwrap(), func(err error) bool { return !lacking(err) })
	}
	return false
}

// Lacks says why the kernel can't check who sends; nil: it can.
func (s *Spoof) Lacks() error { return s.lacks }

// probe has the kernel take a table as it is used here, and give it up again, in one transaction:
// nobody sees anything of it but its events. A kernel without nf_tables answers a transaction
// once, and not each of its parts (nfnetlink_rcv_batch), so it is asked for something else first.
func (s *Spoof) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), probeWithin)
	defer cancel()
	conn, end, err := s.sockets.open(ctx)
	if err != nil {
		return err
	}
	defer end()
	fam := bridge()
	fam.own += "-probe"
	if _, err := hasTable(conn, fam.table, fam.own); err != nil {
		return err
	}
	t := &nftables.Table{Name: fam.own, Family: fam.table}
	c := change{fam: fam, want: ruleset{chains: spoofChains(true), sets: spoofSets(spoof.Set{}, true)}}
	if err := c.putAll(conn, t); err != nil {
		return err
	}
	conn.DelTable(t)
	return conn.Flush()
}

// Close closes the socket that is kept for changes; the next change opens another one.
func (s *Spoof) Close() { s.sockets.forget() }

// Plan makes one step, of all that has to change. Where the kernel lacks it, each link of want
// has an error of its own.
func (s *Spoof) Plan(ctx context.Context, have *spoof.Set, want spoof.Set) (plan.Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fam := bridge()
	switch {
	case have != nil && have.Same(want):
		return nil, nil
	case s.lacks != nil:
		var errs []error
		for _, link := range want.Links() {
			errs = append(errs, &plan.Error{Subject: link, Err: fmt.Errorf("who sends can't be checked: %w", s.lacks)})
		}
		return nil, errors.Join(errs...)
	case have != nil && len(have.Ports) > 0 && len(want.Ports) > 0 && (len(have.Networks) > 0) == (len(want.Networks) > 0):
		is, wanted := fam.spoofDiffering(*have, want)
		c := change{fam: fam, there: true}
		c.alter(is, wanted)
		return s.step(c, delisted(is, wanted, want)), nil
	}
	conn, end, err := s.sockets.open(ctx)
	if err != nil {
		return nil, wrapSpoof(err)
	}
	defer end()
	var found found
	err = steady(ctx, func() (err error) {
		found, err = fam.read(conn, spoofSets(spoof.Set{}, true))
		return err
	})
	if err != nil {
		return nil, wrapSpoof(err)
	}
	wanted := fam.spoofed(want)
	return s.step(fam.compare(found, wanted), delisted(found, wanted, want)), nil
}

// delisted are the ports that are to be kept apart from now on, and whose network's list goes: the
// bridge must keep them apart before.
func delisted(is found, wanted ruleset, want spoof.Set) (links []string) {
	members := map[string]bool{}
	for _, s := range wanted.sets {
		if s.name == setICCMembers {
			for _, e := range s.elements {
				members[e.key] = true
			}
		}
	}
	for _, s := range is.sets {
		if s.name != setICCMembers {
			continue
		}
		for _, e := range s.elements {
			link := strings.TrimRight(e.key, "\x00")
			if _, apart := slices.BinarySearch(want.Apart, link); apart && !members[e.key] {
				links = append(links, link)
			}
		}
	}
	return links
}

// spoofDiffering is of the tables for some ports, and for others, what differs. Either both have
// networks with lists, or none has.
func (fam family) spoofDiffering(have, want spoof.Set) (is found, wanted ruleset) {
	gone, came := differingPorts(have, want)
	listed := len(want.Networks) > 0
	wanted = ruleset{sets: spoofSets(came, listed)}
	for _, s := range spoofSets(gone, listed) {
		is.sets = append(is.sets, foundSet{name: s.name, elements: s.elements})
	}
	for _, n := range gone.Networks {
		is.chains = append(is.chains, iccNetwork(n)...)
	}
	for _, n := range came.Networks {
		wanted.chains = append(wanted.chains, iccNetwork(n)...)
	}
	return is, wanted
}

// differingPorts is what only one of two sets has of links that differ: all of those, since what
// is shared on a link hangs on its port. All ports of a network whose list differs are among them,
// and the networks that they are of.
func differingPorts(have, want spoof.Set) (gone, came spoof.Set) {
	goneShares, cameShares := plan.Differing(have.Shares, want.Shares, spoof.CompareShares)
	gonePorts, camePorts := plan.Differing(have.Ports, want.Ports, spoof.Compare)
	changed := map[string]bool{}
	for _, list := range [][]spoof.Port{gonePorts, camePorts} {
		for _, p := range list {
			changed[p.Link] = true
		}
	}
	for _, list := range [][]spoof.Share{goneShares, cameShares} {
		for _, sh := range list {
			changed[sh.Link] = true
		}
	}
	goneNetworks, cameNetworks := plan.Differing(have.Networks, want.Networks, spoof.CompareNetworks)
	relisted, touched := map[string]bool{}, map[string]bool{}
	for _, n := range slices.Concat(goneNetworks, cameNetworks) {
		relisted[n.Bridge], touched[n.Bridge] = true, true
	}
	for _, s := range []spoof.Set{have, want} {
		for i := range s.Ports {
			switch p := &s.Ports[i]; {
			case !p.Listed:
			case relisted[p.Bridge]:
				changed[p.Link] = true
			case changed[p.Link]:
				touched[p.Bridge] = true
			}
		}
	}
	part := func(s spoof.Set) spoof.Set {
		return s.Only(func(subject string) bool { return changed[subject] || touched[subject] })
	}
	return part(have), part(want)
}

// Apply is Plan, and what the plan says.
func (s *Spoof) Apply(ctx context.Context, have *spoof.Set, want spoof.Set) error {
	p, err := s.Plan(ctx, have, want)
	return errors.Join(err, p.Do(ctx))
}

// step carries one change out, when bridges keep some ports apart.
func (s *Spoof) step(c change, apart []string) plan.Plan {
	if c.empty() {
		return nil
	}
	return plan.Plan{{Kind: "spoof rules", Changes: c.text, Do: func(ctx context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		err := s.isolate(ctx, apart)
		if err == nil {
			err = s.sockets.write(ctx, c)
		}
		if err == nil {
			return nil
		}
		if len(apart) > 0 && s.Kept != nil {
			s.Kept(apart)
		}
		return wrapSpoof(err)
	}}}
}

func (s *Spoof) isolate(ctx context.Context, links []string) error {
	if len(links) == 0 || s.Isolate == nil {
		return nil
	}
	if err := s.Isolate(ctx, links); err != nil {
		return fmt.Errorf("ports whose list goes are not kept apart yet: %w", err)
	}
	return nil
}

func wrapSpoof(err error) error { return fmt.Errorf("check of senders: %w", err) }

// Own is Backend.Own.
func (s *Spoof) Own(pid int) bool {
	if s.sockets.own(pid) {
		return true
	}
	_, err := os.Stat(filepath.Join("/proc/self/task", strconv.Itoa(pid)))
	return err == nil
}

// Matters reports whether a change of a table may concern the check.
func (s *Spoof) Matters(table string) bool { return table == spoofTable }

// Explain lists the rules, and the elements that they look up, as Backend.Explain does.
func (s *Spoof) Explain(want spoof.Set) []firewall.ExplainedRule {
	return bridge().explained(bridge().spoofed(want))
}

// Told is Backend.Told.
func (s *Spoof) Told(change string) (firewall.Change, bool) { return told(change) }

// Refused reads how many frames of each link were dropped since it is checked, and, of each link that
// is only watched, how many have passed since then that would have been. Nothing waits for it.
func (s *Spoof) Refused(ctx context.Context) (refused, passed map[string]uint64, err error) {
	if s.lacks != nil {
		return nil, nil, nil
	}
	conn, end, err := s.sockets.open(ctx)
	if err != nil {
		return nil, nil, wrapSpoof(err)
	}
	defer end()
	fam := bridge()
	there, err := hasTable(conn, fam.table, fam.own)
	if err != nil || !there {
		return nil, nil, err
	}
	if refused, err = fam.countedIn(conn, setRefused); err != nil {
		return nil, nil, wrapSpoof(err)
	}
	if passed, err = fam.countedIn(conn, setAudited); err != nil {
		return nil, nil, wrapSpoof(err)
	}
	return refused, passed, nil
}

// countedIn is what the elements of a set of links have counted; none of a set that has gone.
func (fam family) countedIn(conn *nftables.Conn, set string) (map[string]uint64, error) {
	out := map[string]uint64{}
	elements, err := conn.GetSetElements(&nftables.Set{Table: &nftables.Table{Name: fam.own, Family: fam.table}, Name: set})
	if errors.Is(err, unix.ENOENT) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range elements {
		if e.Counter != nil {
			out[string(bytes.TrimRight(e.Key, "\x00"))] = e.Counter.Packets
		}
	}
	return out, nil
}
