package host

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/mybr/mybr/internal/explain"
)

// lowSet is a set or a map with its elements.
type lowSet struct {
	Family, Table, Name string
	Elem                []json.RawMessage
}

// parseSenders reads from where each port may send, of mybr's table; nil: there is none. Ports that
// are only watched may send from everywhere, and are left out.
func parseSenders(document string) (map[string][]netip.Prefix, error) {
	var all lowList
	if err := json.Unmarshal([]byte(document), &all); err != nil {
		return nil, fmt.Errorf("nft --json list ruleset: %w", err)
	}
	var may map[string][]netip.Prefix
	var audited []string
	for _, e := range all.Nftables {
		for _, set := range []*lowSet{e.Map, e.Set} {
			if set == nil || set.Family != "bridge" || set.Table != explain.SendersTable {
				continue
			}
			if may == nil {
				may = map[string][]netip.Prefix{}
			}
			for _, raw := range set.Elem {
				if set.Name == "audited" {
					var e struct{ Elem struct{ Val string } } // it counts
					if err := json.Unmarshal(raw, &e); err != nil {
						return nil, fmt.Errorf("element %s of %s in nft --json list ruleset: %w", raw, set.Name, err)
					}
					audited = append(audited, e.Elem.Val)
					continue
				}
				link, from, err := sender(set.Name, raw)
				if err != nil {
					return nil, fmt.Errorf("element %s of %s in nft --json list ruleset: %w", raw, set.Name, err)
				}
				if link != "" {
					may[link] = append(may[link], from...)
				}
			}
		}
	}
	for _, link := range audited {
		delete(may, link)
	}
	return may, nil
}

// sender reads an element of the sets that say from where ports may send; link is "" for those
// of others.
func sender(set string, raw json.RawMessage) (link string, from []netip.Prefix, err error) {
	var key struct{ Concat []json.RawMessage }
	var address json.RawMessage
	switch set {
	case "ports":
		err = json.Unmarshal(raw, &link)
		return link, nil, err
	case "sources4", "sources6":
		if err := json.Unmarshal(raw, &key); err != nil || len(key.Concat) != 3 {
			return "", nil, fmt.Errorf("it has not three parts: %w", err)
		}
		err, address = json.Unmarshal(key.Concat[0], &link), key.Concat[2]
	case "prefixes4", "prefixes6":
		if err := json.Unmarshal(raw, &key); err != nil || len(key.Concat) != 2 {
			return "", nil, fmt.Errorf("it has not two parts: %w", err)
		}
		err, address = json.Unmarshal(key.Concat[1], &link), key.Concat[0]
	default:
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	p, err := senderPrefix(address)
	return link, []netip.Prefix{p}, err
}

// senderPrefix reads an address or a prefix as nft(8) has it.
func senderPrefix(raw json.RawMessage) (netip.Prefix, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		a, err := netip.ParseAddr(text)
		return netip.PrefixFrom(a, a.BitLen()), err
	}
	var p struct {
		Prefix struct {
			Addr string
			Len  int
		}
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return netip.Prefix{}, err
	}
	a, err := netip.ParseAddr(p.Prefix.Addr)
	return netip.PrefixFrom(a, p.Prefix.Len), err
}
