package link

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
)

// ipLink is what `ip -d -j address` says of a link.
type ipLink struct {
	Index    int      `json:"ifindex"`
	Name     string   `json:"ifname"`
	Flags    []string `json:"flags"`
	MTU      int      `json:"mtu"`
	Master   string   `json:"master"`
	MAC      string   `json:"address"`
	Alias    string   `json:"ifalias"`
	LinkInfo struct {
		Kind string `json:"info_kind"`
		Port struct {
			State    string `json:"state"`
			Hairpin  bool   `json:"hairpin"`
			Isolated bool   `json:"isolated"`
		} `json:"info_slave_data"`
	} `json:"linkinfo"`
	Addresses []struct {
		Local     string `json:"local"`
		Length    int    `json:"prefixlen"`
		Broadcast string `json:"broadcast"`
		Scope     string `json:"scope"`
		NoDAD     bool   `json:"nodad"`
		Tentative bool   `json:"tentative"`
	} `json:"addr_info"`
}

// ipLinks reads the links of the host with ip(8).
func ipLinks(t testing.TB, h *nettest.Host) map[string]ipLink {
	t.Helper()
	var list []ipLink
	if err := json.Unmarshal([]byte(h.Run("ip", "-d", "-j", "address", "show")), &list); err != nil {
		t.Fatal(err)
	}
	m := map[string]ipLink{}
	for _, l := range list {
		m[l.Name] = l
	}
	return m
}

// dumpText is everything of the host's links that a Set decides, as text. IPv6
// link-local addresses of the kernel's follow from MACs, and come late.
func dumpText(t testing.TB, h *nettest.Host) string {
	t.Helper()
	var lines []string
	for name, l := range ipLinks(t, h) {
		var addresses []string
		for _, a := range l.Addresses {
			if a.Scope != "link" || a.NoDAD {
				addresses = append(addresses, fmt.Sprintf("%s/%d brd %s nodad=%v tentative=%v", a.Local, a.Length, a.Broadcast, a.NoDAD, a.Tentative))
			}
		}
		slices.Sort(addresses)
		port := l.LinkInfo.Port
		lines = append(lines, fmt.Sprintf("%s %s up=%v mtu=%d mac=%s master=%q alias=%q hairpin=%v isolated=%v %v", name, l.LinkInfo.Kind,
			slices.Contains(l.Flags, "UP"), l.MTU, l.MAC, l.Master, l.Alias, port.Hairpin, port.Isolated, addresses))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// apply applies and fails the test on an error.
func apply(t testing.TB, have *Set, want Set) {
	t.Helper()
	if err := (&Applier{}).Apply(context.Background(), have, want); err != nil {
		t.Fatal(err)
	}
}

// matches fails the test unless a look at everything finds nothing to change.
func matches(t testing.TB, want Set) {
	t.Helper()
	p, err := (&Applier{}).Plan(context.Background(), nil, want)
	if err != nil || len(p) != 0 {
		t.Errorf("still to change: %q, %v", p.Changes(), err)
	}
}

// refused applies and returns the errors by subject.
func refused(t testing.TB, have *Set, want Set) map[string]error {
	t.Helper()
	return blamed(t, (&Applier{}).Apply(context.Background(), have, want))
}

// blamed returns the errors of a joined error by subject.
func blamed(t testing.TB, err error) map[string]error {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	subjects, rest := plan.Blame(err)
	if rest != nil {
		t.Fatalf("%v is not about a link", rest)
	}
	m := map[string]error{}
	for _, e := range subjects {
		if m[e.Subject] != nil {
			t.Fatalf("%s has two errors: %v", e.Subject, err)
		}
		m[e.Subject] = e.Err
	}
	return m
}

// mac returns a locally administered MAC.
func mac(n byte) model.MAC { return model.MAC{0x02, 0x42, 0, 0, 0, n} }

// bridge returns an owned bridge of network n with 172.(20+n).0.1/16 and fd00:(20+n)::1/64.
func bridge(n byte) Bridge {
	return Bridge{
		Name: fmt.Sprintf("mybr%d", n), Owned: true, Alias: fmt.Sprintf("%s%04d", model.AliasNetwork, n),
		MAC: mac(100 + n), V4: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 20 + n, 0, 1}), 16),
		V6: netip.MustParsePrefix(fmt.Sprintf("fd00:%d::1/64", 20+n)),
	}
}

// veth returns the pair of endpoint n on a bridge.
func veth(n byte, on Bridge) Veth {
	return Veth{
		Host: fmt.Sprintf("veth%010d", n), Peer: fmt.Sprintf("veth%010dc", n), Bridge: on.Name,
		Alias: fmt.Sprintf("%s%04d", model.AliasEndpoint, n), MAC: mac(n), MTU: on.MTU,
	}
}

func set(bridges []Bridge, veths ...Veth) Set {
	s := Set{Bridges: bridges}
	for _, v := range veths {
		s.Veths = append(s.Veths, &v)
	}
	return s
}
