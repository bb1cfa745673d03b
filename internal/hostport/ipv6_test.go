package hostport

import (
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// withoutIPv6 takes ::1 from the namespace until the test ends.
func withoutIPv6(t *testing.T, host *nettest.Host) {
	t.Helper()
	host.Sysctl("net/ipv6/conf/lo/disable_ipv6", "1")
	t.Cleanup(func() { host.Sysctl("net/ipv6/conf/lo/disable_ipv6", "0") })
}

// net.ipv6.conf.all.disable_ipv6 is written through to every interface, and says nothing
// of what has been switched since (ip-sysctl).
func TestIPv6IsThereIfLoopbackHasIt(t *testing.T) {
	host := nettest.Process(t)
	m := start(t, Config{})
	t.Cleanup(func() { host.Sysctl("net/ipv6/conf/all/disable_ipv6", "0") })
	want := func(when string, ports int) {
		t.Helper()
		got, release := reserve(t, m, "a", request(model.TCP, "", 80, 80, 80))
		defer release()
		if len(got) != ports {
			t.Errorf("%s:\n%s", when, text(got))
		}
	}
	want("with IPv6", 2)
	host.Sysctl("net/ipv6/conf/all/disable_ipv6", "1")
	want("switched off", 1)
	host.Sysctl("net/ipv6/conf/lo/disable_ipv6", "0")
	want("on again at lo alone", 2)
	host.Sysctl("net/ipv6/conf/all/disable_ipv6", "0")
	withoutIPv6(t, host)
	want("off at lo alone", 1)
}
