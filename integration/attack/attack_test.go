package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/plugin"
)

func TestMain(m *testing.M) {
	world.Main()
	world.Parallel(2)
	os.Exit(m.Run())
}

// healWithin is how long mybr may take to put right what others have undone: it is told of it at once,
// and looks at everything each 30 s.
const healWithin = 40 * time.Second

// TestAttack tries everything in the table, with each backend of the firewall: without lists and with
// them, while mybr is away, and behind a flush of the rules. With -short it is one backend.
func TestAttack(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	for _, backend := range []string{world.NFTables, world.IPTables} {
		t.Run(backend, func(t *testing.T) {
			if backend != world.NFTables {
				world.Full(t)
			}
			t.Parallel()
			// Without a list nobody looks at senders: what is sent as somebody else is to arrive.
			a := prepare(t, world.New(t, world.Config{Engine: "28.5", Firewall: backend, LANs: []string{evilAddr}, MybrArgs: []string{"--spoof", "allow"}}))
			a.works(a.open)
			a.refused("with lists", false)
			a.helpers()

			a.w.KillMybr()
			a.refused("mybr is away", true)
			a.w.StartMybr()
			a.healed("mybr is back")
			a.flush(backend)
			a.refused("behind a flush", false)
			a.begun()
		})
	}
}

// works fails the test unless each row arrives, save those of which it says that they can't.
func (a *arena) works(n *network) {
	a.t.Helper()
	for _, d := range a.try(n, false) {
		if seen := d.at(a, d.row.arrives()); (len(seen) > 0) == (d.row.fails != "") {
			a.t.Errorf("without a list: %s: seen at %s: %v; the table says: %q", d, d.row.arrives(), seen, d.row.fails)
		}
	}
}

// refused fails the test if a row arrives that may not, or one does not that proves the others.
func (a *arena) refused(when string, away bool) {
	a.t.Helper()
	all := a.try(a.listed, away)
	for _, d := range all {
		if !d.row.must && (!d.row.carried || away) {
			continue
		}
		// What the process carries may come behind the last token.
		a.w.Eventually(patience, func() error {
			if len(d.at(a, d.row.may)) == 0 {
				return fmt.Errorf("%s: %s: not seen at %s, and the rest says nothing", when, d, d.row.may)
			}
			return nil
		})
	}
	for _, d := range all {
		for _, place := range []string{lan, evil, host, neighbour, other, bridge, attacker} {
			seen := d.at(a, place)
			judged := place != bridge && place != attacker || place == d.row.at
			switch {
			case place == d.row.may && d.row.carried && away && len(seen) > 0:
				a.t.Errorf("%s: %s: the process carries it, and is away: seen at %s: %v", when, d, place, seen)
			case judged && place != d.row.may && len(seen) > 0:
				a.t.Errorf("%s: %s: seen at %s: %v", when, d, place, seen)
			}
		}
	}
}

// done is a row that was tried in a family.
type done struct {
	row    row
	family string
	scene  scene
	on     *network
}

func (d done) String() string { return d.family + ": " + d.row.name }

// try has the attacker on a network try the whole table, and waits until watchers have seen all that
// has arrived.
func (a *arena) try(n *network, away bool) (all []done) {
	a.t.Helper()
	var eve, accomplice []string
	for _, s := range table() {
		for _, r := range s.rows {
			for _, family := range r.families() {
				d := done{row: r, family: family, scene: a.scene(n, family), on: n}
				if r.capitals {
					d.scene.token = strings.ToUpper(d.scene.token)
				}
				all = append(all, d)
				tries := r.try(d.scene)
				if n == a.open || r.must || r.carried && !away {
					tries = tries.waiting(r.carried && n == a.listed)
				}
				eve = append(eve, words(a.t, tries)...)
				if r.accomplice != nil {
					accomplice = append(accomplice, words(a.t, r.accomplice(d.scene))...)
				}
			}
		}
	}
	// What comes from outside is there before and behind what the attacker does.
	a.w.LANs[1].Run(append([]string{"guest", "attempt"}, accomplice...)...)
	a.t.Log("what the attacker is told: ", a.w.Docker(append([]string{"exec", n.eve, "/guest", "attempt"}, eve...)...))
	a.w.LANs[1].Run(append([]string{"guest", "attempt"}, accomplice...)...)
	a.settle(n)
	return all
}

// settle sends each watcher a last token and waits until it has seen it.
func (a *arena) settle(n *network) {
	a.t.Helper()
	x := a.scene(n, "IPv4")
	last := []byte(x.token)
	var all attempts
	for _, to := range []string{world.LANAddr, evilAddr, n.neighbourAddr, n.eveAddr, otherAddr, "127.0.0.1"} {
		all = append(all, report.Attempt{Kind: "udp", To: to + ":9", Data: last, Within: 50 * time.Millisecond})
	}
	a.w.Host.Run(append([]string{"guest", "attempt"}, words(a.t, all)...)...)
	honest := frames(frame(x.gatewayMAC, x.eveMAC, 0x0806, arp(1, x.eveMAC, x.eve, make([]byte, 6), x.gateway, x.token)))
	a.w.Docker(append([]string{"exec", n.eve, "/guest", "attempt"}, words(a.t, honest)...)...)
	a.w.Eventually(healWithin, func() error {
		var missing []string
		for _, place := range []string{lan, evil, host, neighbour, other, bridge, attacker} {
			if len(a.sights(n, place, x.token)) == 0 {
				missing = append(missing, place)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("the last token has not been seen at: %s", strings.Join(missing, ", "))
		}
		return nil
	})
}

// at is what was seen of a row at a place. The host sees what comes to the process by right, the listed
// host's answers to the process, and what the accomplice sends it.
func (d done) at(a *arena, place string) []report.Sight {
	return slices.DeleteFunc(a.sights(d.on, place, d.scene.token), func(s report.Sight) bool {
		if place != host {
			return false
		}
		answer := d.row.may == lan && (s.Packet.Src == addr(world.LANAddr) || s.Packet.Src == addr(world.LANAddr6))
		sent := d.row.accomplice != nil && (s.Packet.Src == addr(evilAddr) || s.Packet.Src == addr(evilAddr6))
		return answer || sent || d.on == a.listed && slices.Contains(a.ports, s.Packet.DstPort)
	})
}

// flush has somebody flush all rules, and waits until mybr has put them back.
func (a *arena) flush(backend string) {
	a.t.Helper()
	told := len(a.w.Log())
	rules := "set -e; iptables -F; ip6tables -F; iptables -t nat -F; ip6tables -t nat -F; nft delete table bridge mybr-spoof"
	if backend == world.NFTables {
		rules += "; nft flush table ip mybr; nft flush table ip6 mybr"
	}
	a.w.Host.Run("sh", "-c", rules)
	a.healed("a flush")
	if log := a.w.Log()[told:]; !strings.Contains(log, "healed: ") {
		a.t.Errorf("a flush: nothing was healed:\n%s", log)
	}
}

// healed waits until the host is as it should be.
func (a *arena) healed(what string) {
	a.t.Helper()
	a.w.Eventually(healWithin, func() error {
		list, err := plugin.Client{RunDir: a.w.Path("/run/mybr")}.Diff(a.t.Context())
		for _, d := range list {
			if d.Error != "" || len(d.Changes) > 0 {
				return fmt.Errorf("%s: %s of the host differs: %s%s", what, d.Aspect, d.Error, strings.Join(d.Changes, "; "))
			}
		}
		return err
	})
}

// helpers fails the test if a rule has connection tracking follow a protocol.
func (a *arena) helpers() {
	a.t.Helper()
	if rules := a.w.Host.Run("sh", "-c", "nft list ruleset; iptables-save; ip6tables-save"); strings.Contains(rules, "ct helper") || strings.Contains(rules, "--helper") {
		a.t.Errorf("there is a helper:\n%s", rules)
	}
}

// begun: flows of TCP and UDP that have begun before there was a list end with it, although their
// sender goes on.
func (a *arena) begun() {
	a.t.Helper()
	type flow struct {
		what, token string
		drip        *world.Proc
	}
	late := a.w.Idle("late", "--network", "name=n1") // the attacker has told her own kernel, too, that the gateway is elsewhere
	var flows []flow
	for _, network := range []string{"tcp", "udp"} {
		for _, to := range []string{evilAddr + ":8080", "[" + evilAddr6 + "]:8080"} {
			token := a.token()
			flows = append(flows, flow{network + " to " + to, token, late.Start("guest", "drip", network, to, token)})
		}
	}
	for _, f := range flows {
		a.w.Eventually(healWithin, func() error {
			if len(a.sights(a.open, evil, f.token)) < 3 {
				return fmt.Errorf("%s: not seen without a list; the sender says %q", f.what, f.drip.Lines())
			}
			return nil
		})
	}
	a.w.Host.Run("mybr", "endpoint", "set", "--network", "n1", "late", "mybr.egress="+world.LANAddr+":81/tcp")
	answered := time.Now()
	sent := map[string]int{} // the last number that was sent before the answer
	for _, f := range flows {
		a.w.Eventually(healWithin, func() error {
			behind := 0
			for _, line := range f.drip.Lines()[1:] {
				var d report.Drip
				if err := json.Unmarshal([]byte(line), &d); err != nil {
					a.t.Fatalf("%s: %q: %v", f.what, line, err)
				}
				if d.Sent.After(answered) {
					behind++
				} else {
					sent[f.token] = d.Count
				}
			}
			if behind < 50 {
				return fmt.Errorf("%s: has sent %d since the list came, want 50", f.what, behind)
			}
			return nil
		})
	}
	a.settle(a.open)
	for _, f := range flows {
		for _, s := range a.sights(a.open, evil, f.token) {
			if s.Count > sent[f.token] {
				a.t.Errorf("%s: began without a list, and goes on with it: %+v, behind %d", f.what, s, sent[f.token])
				break
			}
		}
	}
}
