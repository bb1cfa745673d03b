package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// TestBesideDocker has networks of mybr's, docker0 and a network of Docker's own driver
// on one host, with each layout of Docker's rules and each variant of iptables.
func TestBesideDocker(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about the two drivers")
	}
	t.Parallel()
	live := []string{"--live-restore"}
	for _, test := range []struct {
		name, variant string
		test          func(*testing.T, *world.World)
		args          []string // of dockerd
		both          bool     // with -short on both engines too, and with nftables on the newer one
	}{
		{"rules_of_others_nft", "nft", attackOrder, live, true},
		{"rules_of_others_legacy", "legacy", attackOrder, live, false},
		{"daemons_start_again_live_restore", "nft", besideRestart, live, false},
		{"daemons_start_again", "legacy", besideRestart, nil, false},
	} {
		for engine, version := range map[string]string{"usual": world.OwnEngine, "28.5": "28.5"} {
			t.Run(engine+"/"+test.name, func(t *testing.T) {
				if version != world.OwnEngine && !test.both {
					world.Full(t)
				}
				t.Parallel()
				cfg := world.Config{Engine: version, Variant: test.variant, DockerArgs: test.args}
				if version != world.OwnEngine {
					cfg.Firewall = world.InShort(world.NFTables)
				}
				test.test(t, world.New(t, cfg))
			})
		}
	}
}

// besideRestart ends and starts both daemons, in every order.
func besideRestart(t *testing.T, w *world.World) {
	all := build(t, w)
	undisturbed(t, w, "at first", all)
	for _, c := range all {
		w.Docker("update", "--restart", "always", "in-"+c.net)
	}
	again := func(when string) {
		t.Helper()
		for i, c := range all {
			w.Eventually(30*time.Second, func() error {
				if state := w.Docker("inspect", "-f", "{{.State.Status}}", "in-"+c.net); state != "running" {
					return fmt.Errorf("%s: in-%s is %s", when, c.net, state)
				}
				return nil
			})
			w.Ready("in-" + c.net)
			all[i].place = w.Container("in-" + c.net)
			all[i].addr = ipv4(t, all[i].place, "eth0")
		}
		undisturbed(t, w, when, all)
	}
	w.RestartDocker()
	again("dockerd starts again")
	restart(w)
	again("mybr starts again")
	w.KillDocker()
	w.KillMybr()
	w.StartMybr()
	w.StartDocker()
	again("both are killed and start again")
}

// undisturbed checks that each city's published ports lead there, from the LAN and from the
// other cities, that it has a way out, and that otherwise all are isolated.
func undisturbed(t *testing.T, w *world.World, when string, all []city) {
	t.Helper()
	for _, to := range all {
		for _, network := range []string{"tcp", "udp"} {
			at := world.HostAddr + ":" + to.port
			seenAs(t, when+": "+network+" from the LAN to "+to.net, w.LAN.Get(network, at), world.LANAddr)
			answered(t, when+": "+network+" from the host to "+to.net, w.Host.Get(network, "127.0.0.1:"+to.port))
			for _, from := range all {
				if !proxied(network, from.driver, to.driver) {
					answered(t, fmt.Sprintf("%s: %s from %s to %s", when, network, from.net, to.net), from.place.Get(network, at))
				}
			}
		}
		answered(t, when+": out of "+to.net, to.place.Ping(world.LANAddr))
	}
	isolated(t, all)
}
