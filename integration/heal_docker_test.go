package integration

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/plugin"
)

// TestDockersOwnWork has Docker work for its own networks: mybr keeps its place among
// Docker's rules, and takes nothing of that for something that it has to heal, or for somebody
// who fights it. What is undone right behind it is back as soon as ever. With the backend nftables
// the place is that of the few rules that mybr has in iptables then.
func TestDockersOwnWork(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about mybr's log")
	}
	t.Parallel()
	for _, engine := range []string{world.OwnEngine, "28.5"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			cfg := world.Config{Engine: engine}
			if engine != world.OwnEngine {
				cfg.Firewall = world.InShort(world.NFTables)
			}
			w := world.New(t, cfg)
			w.Network("n0")
			w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
			matches(t, w)
			told := len(w.Log())
			for i := range 10 {
				name := fmt.Sprint("d", i)
				w.Docker("network", "create", "-d", "bridge", name)
				if i%5 == 0 {
					w.Idle("on-"+name, "--net", name, "-p", fmt.Sprint(8100+i, ":80"))
					w.Docker("rm", "-f", "on-"+name)
				}
			}
			for i := range 10 {
				w.Docker("network", "rm", fmt.Sprint("d", i))
			}
			w.Eventually(healWithin, func() error { return mismatch(t, w) })
			if found := regexp.MustCompile(`.*(healed: |again and again).*`).FindAllString(w.Log()[told:], 3); found != nil {
				t.Errorf("%q", found)
			}
			status, err := plugin.Client{RunDir: w.Path("/run/mybr")}.Status(t.Context())
			if err != nil || status.Healed["firewall"].Times != 0 {
				t.Errorf("status: %+v, %v", status.Healed, err)
			}

			told = len(w.Log())
			begun := time.Now()
			healed := regexp.MustCompile("healed: " + unpublish(w)("8088"))
			w.Eventually(healWithin, func() error {
				if !healed.MatchString(w.Log()[told:]) {
					return fmt.Errorf("not healed:\n%s", w.Log()[told:])
				}
				return nil
			})
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("healed after %s", took)
			}
			seenAs(t, "a port", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
		})
	}
}
