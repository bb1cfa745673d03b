package link

import (
	"maps"
	"net/netip"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// lostPrefix is what the name of a lost pair's host end has before it in Applier.tolerated.
const lostPrefix = "lost/"

// forgetLost forgets the lost pairs that are not wanted any more.
func (a *Applier) forgetLost(wanted map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.tolerated, func(what string, _ bool) bool {
		host, ok := strings.CutPrefix(what, lostPrefix)
		return ok && !wanted[host]
	})
}

// lost warns, once, of a container whose pair is gone. Its end of it was Docker's, which
// makes no other one while the container runs.
func (a *Applier) lost(v Veth) {
	if a.Warn == nil || !a.tolerate(lostPrefix+v.Host) {
		return
	}
	var addresses []string
	for _, addr := range []netip.Addr{v.V4, v.V6} {
		if addr.IsValid() {
			addresses = append(addresses, addr.String())
		}
	}
	a.Warn("link %s is gone, and with it the interface of the container that has endpoint %s (%s) in bridge %s; "+
		"have Docker make another one: `docker network disconnect -f NETWORK CONTAINER` and `docker network connect NETWORK CONTAINER`, or restart the container",
		v.Host, strings.TrimPrefix(model.AliasOwner(v.Alias), model.AliasEndpoint), strings.Join(addresses, ", "), v.Bridge)
}
