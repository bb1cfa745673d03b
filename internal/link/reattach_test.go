package link

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// A pair that is taken off its bridge, or set down, and put back is talked to at once by
// who has asked for its addresses in between, and talks to its gateway: the kernel would
// ask again after retrans_time_ms, which is made a minute here.
func TestReattachedPairIsReachedAtOnce(t *testing.T) {
	for name, cut := range map[string][]string{"taken off": {"nomaster"}, "set down": {"down"}} {
		t.Run(name, func(t *testing.T) {
			h := nettest.New(t)
			br := bridge(1)
			v := veth(1, br)
			v.V4, v.V6, v.Announce, v.Joined = netip.MustParseAddr("172.21.0.2"), netip.MustParseAddr("fd00:21::2"), true, true
			fresh := v
			fresh.Joined = false
			want := set([]Bridge{br}, v)
			apply(t, nil, set([]Bridge{br}, fresh))
			box := h.Peer(v.Peer)
			box.Adopt(h, v.Peer, nettest.End{Name: "eth0", Addresses: []string{"172.21.0.2/16", "fd00:21::2/64"}})
			box.Echo("tcp", "[::]:80")
			h.Echo("tcp", "[::]:80")
			ask := func(patience time.Duration) (failed []error) {
				for _, one := range []struct {
					from *nettest.Host
					to   []string
				}{{h, []string{"172.21.0.2:80", "[fd00:21::2]:80"}}, {box, []string{"172.21.0.1:80", "[fd00:21::1]:80"}}} {
					for _, to := range one.to {
						if _, err := one.from.Ask("tcp", to, patience); err != nil {
							failed = append(failed, err)
						}
					}
				}
				return failed
			}
			if failed := ask(10 * time.Second); len(failed) > 0 {
				t.Fatal(failed)
			}
			// From here on nobody asks twice; before, a pair that has just come up may lose a question.
			for _, from := range []struct {
				*nettest.Host
				link string
			}{{h, br.Name}, {box, "eth0"}} {
				from.Sysctl("net/ipv4/neigh/"+from.link+"/retrans_time_ms", "60000")
				from.Sysctl("net/ipv6/neigh/"+from.link+"/retrans_time_ms", "60000")
			}
			h.Run("ip", append([]string{"link", "set", v.Host}, cut...)...)
			box.Run("ip", "neigh", "flush", "dev", "eth0")
			if failed := ask(100 * time.Millisecond); len(failed) != 4 {
				t.Fatalf("cut off, only these are: %v", failed)
			}
			apply(t, nil, want)
			if failed := ask(10 * time.Second); len(failed) > 0 {
				t.Error(failed)
			}
			matches(t, want)
		})
	}
}
