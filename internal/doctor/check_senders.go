package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
)

func senderChecks() []Check {
	return []Check{
		{Name: "senders", look: lookSenders,
			Sees: "whether containers have sent with other MACs or from other addresses than their own where that is refused, or counted (`mybr.spoof`), and whether this kernel can do what `--spoof` asks for",
			Means: "The container passes for somebody else, or has addresses that Docker did not give it, such as virtual ones, and is not heard there: docs/policy.md lists what does so, and the option that lets it. " +
				"Where the kernel can't do what `--spoof` asks for, containers may send from any address, as with Docker's own driver: a warning if it was given, a note if it is the default.",
			Mends: "there is none: whether a container is to send that is for you to say (`mybr endpoint set CONTAINER mybr.spoof.addresses=…`); what the kernel lacks is CONFIG_NF_TABLES_BRIDGE, and `mybr serve --spoof allow` says that nobody is to be checked"},
	}
}

// Where mybr counts the frames that it refuses, and those that pass because the port is only watched
// (internal/firewall/nftables).
const (
	sendersTable = "mybr-spoof"
	refusedSet   = "refused"
	auditedSet   = "audited"
)

// nftSet is a set as `nft -j list set` prints it (libnftables-json(5)): its elements are
// objects, since they have counters.
type nftSet struct {
	Nftables []struct {
		Table *struct{ Family, Name string }
		Set   *struct{ Elem []json.RawMessage }
	}
}

func (l *look) nftSets(args ...string) (list nftSet, err error) {
	text, err := l.Run(l.ctx, "nft", append([]string{"-j", "list"}, args...)...)
	if err != nil {
		return list, err
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return list, fmt.Errorf("what nft prints: %w", err)
	}
	return list, nil
}

// counters is what the elements of one of mybr's sets of links have counted.
func (l *look) counters(set string) (map[string]uint64, error) {
	list, err := l.nftSets("set", "bridge", sendersTable, set)
	if err != nil {
		return nil, err
	}
	frames := map[string]uint64{}
	for _, one := range list.Nftables {
		if one.Set == nil {
			continue
		}
		for _, raw := range one.Set.Elem {
			var e struct {
				Elem struct {
					Val     string
					Counter struct{ Packets uint64 }
				}
			}
			if err := json.Unmarshal(raw, &e); err != nil {
				return nil, fmt.Errorf("element %s of the set %s: %w", raw, set, err)
			}
			frames[e.Elem.Val] = e.Elem.Counter.Packets
		}
	}
	return frames, nil
}

// senders is how many frames of each link were refused, and how many have passed of each that is only
// watched; ok is false if nobody's are looked at.
func (l *look) senders() (refused, passed map[string]uint64, ok bool, err error) {
	tables, err := l.nftSets("tables", "bridge")
	if err != nil {
		return nil, nil, false, err
	}
	for _, one := range tables.Nftables {
		ok = ok || one.Table != nil && one.Table.Name == sendersTable
	}
	if !ok {
		return nil, nil, false, nil
	}
	if refused, err = l.counters(refusedSet); err == nil {
		passed, err = l.counters(auditedSet)
	}
	return refused, passed, true, err
}

func lookSenders(l *look) {
	if p, err := l.running(); err == nil && p.Unchecked != "" {
		verdict := Note // nobody has asked for it, and it is no worse than with Docker's own driver
		if p.UncheckedAsked {
			verdict = Warning
		}
		l.found(verdict, nil, "%s", p.Unchecked)
		return // the kernel has no table of who sends, and may refuse to be asked for one
	}
	refused, passed, ok, err := l.senders()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		l.saw("nft is not installed: frames that were refused can't be counted from here, and the log of mybr tells of them")
		return
	case err != nil:
		l.unknown(err)
		return
	case !ok:
		l.saw("no container's sender is checked")
		return
	}
	of := map[string]string{} // by link
	if v, err := l.records(); err == nil {
		for _, e := range v.Endpoints {
			of[e.Veth] = "endpoint " + short(e.ID) + " on " + e.Bridge
			if e.Container != "" {
				of[e.Veth] = "container " + e.Container + " on " + e.Bridge
			}
		}
	}
	tell := func(frames map[string]uint64, what string) {
		for _, link := range slices.Sorted(maps.Keys(frames)) {
			if n := frames[link]; n > 0 {
				who := of[link]
				if who == "" {
					who = "an endpoint that is not known"
				}
				l.found(Note, nil, "%s of %s (%s) %s", count(int(n), "frame"), who, link, what)
			}
		}
	}
	tell(refused, "refused")
	tell(passed, "counted, and not refused")
	if l.Verdict == OK {
		l.saw("%s checked, and none has sent as somebody else", count(len(refused)+len(passed), "sender"))
	}
}
