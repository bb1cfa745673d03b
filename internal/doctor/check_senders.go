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
				"Where the kernel can't do what `--spoof` asks for, containers may send from any address, on networks that don't say it themselves.",
			Mends: "there is none: whether a container is to send that is for you to say (`mybr endpoint set CONTAINER mybr.spoof.addresses=…`), and what the kernel lacks is CONFIG_NF_TABLES_BRIDGE"},
	}
}

// Where mybr counts the frames that it refuses, and has the ports that it only watches
// (internal/firewall/nftables).
const (
	sendersTable = "mybr-spoof"
	refusedSet   = "refused"
	auditedSet   = "audited"
)

// nftSet is a set as `nft -j list set` prints it (libnftables-json(5)): its elements are values, and
// objects where they have a counter.
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

// elements calls with each element of one of mybr's sets.
func (l *look) elements(set string, with func(json.RawMessage) error) error {
	list, err := l.nftSets("set", "bridge", sendersTable, set)
	if err != nil {
		return err
	}
	for _, one := range list.Nftables {
		if one.Set == nil {
			continue
		}
		for _, e := range one.Set.Elem {
			if err := with(e); err != nil {
				return fmt.Errorf("element %s of the set %s: %w", e, set, err)
			}
		}
	}
	return nil
}

// senders is how many frames of each link were refused, or would have been for those of audited; ok
// is false if nobody's are looked at.
func (l *look) senders() (frames map[string]uint64, audited map[string]bool, ok bool, err error) {
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
	frames, audited = map[string]uint64{}, map[string]bool{}
	err = l.elements(refusedSet, func(raw json.RawMessage) error {
		var e struct {
			Elem struct {
				Val     string
				Counter struct{ Packets uint64 }
			}
		}
		err := json.Unmarshal(raw, &e)
		frames[e.Elem.Val] = e.Elem.Counter.Packets
		return err
	})
	if err != nil {
		return nil, nil, true, err
	}
	err = l.elements(auditedSet, func(raw json.RawMessage) error {
		var link string
		err := json.Unmarshal(raw, &link)
		audited[link] = true
		return err
	})
	return frames, audited, true, err
}

func lookSenders(l *look) {
	if p, err := l.running(); err == nil && p.Unchecked != "" {
		l.found(Warning, nil, "%s", p.Unchecked)
	}
	frames, audited, ok, err := l.senders()
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
	for _, link := range slices.Sorted(maps.Keys(frames)) {
		if n := frames[link]; n > 0 {
			who := of[link]
			if who == "" {
				who = "an endpoint that is not known"
			}
			what := "refused"
			if audited[link] {
				what = "counted, and not refused"
			}
			l.found(Note, nil, "%s of %s (%s) %s", count(int(n), "frame"), who, link, what)
		}
	}
	if l.Verdict == OK {
		l.saw("%s checked, and none has sent as somebody else", count(len(frames), "sender"))
	}
}
