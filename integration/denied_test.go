package integration

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// denials are what mybr denied -o json has of a network, as "CONTAINER PROTOCOL ADDRESS PORT", or
// the name for the address, with what became of it and how often.
func denials(w *world.World, network string) (map[string]string, error) {
	r := w.Host.Try("mybr", "denied", network, "-o", "json")
	if r.Code != 0 {
		return nil, fmt.Errorf("mybr denied: %+v", r)
	}
	var all struct {
		Version int
		Denied  []struct {
			Container, Name, Address, Protocol string
			Port                               uint16
			Count, Let                         uint64
		}
	}
	if err := json.Unmarshal([]byte(r.Out), &all); err != nil || all.Version != 1 {
		return nil, fmt.Errorf("version %d, %w in %s", all.Version, err, r.Out)
	}
	seen := map[string]string{}
	for _, d := range all.Denied {
		verdict := "refused"
		switch d.Let {
		case 0:
		case d.Count:
			verdict = "let through"
		default:
			verdict = "both"
		}
		seen[fmt.Sprintf("%s %s %s %d", d.Container, d.Protocol, cmp.Or(d.Name, d.Address), d.Port)] = fmt.Sprintf("%s %d", verdict, d.Count)
	}
	return seen, nil
}

// TestDenied: what a list refuses is shown, with who and to where; a list that is only watched lets
// it pass and shows it; and the list that is suggested lets the same pass when it is enforced.
func TestDenied(t *testing.T) {
	withEachBackend(t, nil, whatIsDenied)
}

func whatIsDenied(t *testing.T, w *world.World) {
	const option, modeOption = "mybr.egress", "mybr.egress.mode"
	w.LANs[0].Start("guest", "serve", "tcp:80", "udp:80", "tcp:81")
	w.Host.Start("guest", "serve", "tcp:90")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "-o", option+"=host:9", "n0")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr1", "--subnet", "172.19.0.0/16", "n1")
	w.Serve("other", []string{"--net", "n1", "-p", "8080:80"}, "tcp:80")
	app := w.Serve("app", []string{"--net", "n0", "-p", "8090:80"}, "tcp:80")
	get := func(network, to string) func() world.Outcome {
		return func() world.Outcome { return app.Get(network, to, soon) }
	}
	paths := map[string]func() world.Outcome{
		"tcp": get("tcp", world.LANAddr+":80"), "tcp6": get("tcp", "["+world.LANAddr6+"]:80"), "udp": get("udp", world.LANAddr+":80"),
		"host": get("tcp", world.HostAddr+":90"), "host6": get("tcp", "["+world.HostAddr6+"]:90"), "published": get("tcp", world.HostAddr+":8080"),
	}
	const all = "tcp tcp6 udp host host6 published"
	published := "app tcp " + world.HostAddr + " 8080"
	keys := []string{
		"app tcp " + world.LANAddr + " 80", "app tcp " + world.LANAddr6 + " 80", "app udp " + world.LANAddr + " 80",
		"app tcp " + world.HostAddr + " 90", "app tcp " + world.HostAddr6 + " 90", published,
	}
	shown := func(what, verdict string, keys ...string) {
		t.Helper()
		w.Eventually(10*time.Second, func() error {
			seen, err := denials(w, "n0")
			for _, k := range keys {
				if err == nil && !strings.HasPrefix(seen[k], verdict+" ") {
					err = fmt.Errorf("%s: %s is %q, want %s: %v", what, k, seen[k], verdict, seen)
				}
			}
			return err
		})
	}
	set := func(args ...string) { t.Helper(); w.Host.Run(append([]string{"mybr"}, args...)...) }

	reaches(t, "refused", paths, "")
	entry := world.HostAddr + ":8080/tcp"
	w.Eventually(10*time.Second, func() error {
		seen, err := denials(w, "n0")
		const some = "app tcp 0.0.0.0 8080" // by a kernel that does not tell which of the host's addresses it was
		if err == nil && seen[published] == "" && seen[some] == "" {
			err = fmt.Errorf("nothing at the published port: %v", seen)
		}
		if seen[some] != "" {
			keys[5], entry = some, "host:8080/tcp"
		}
		return err
	})
	shown("refused", "refused", keys...)
	if text := w.Host.Run("mybr", "denied", "n0"); !strings.Contains(text, "app") || !strings.Contains(text, world.LANAddr+":80") {
		t.Errorf("mybr denied:\n%s", text)
	}
	if seen, err := denials(w, "n1"); err != nil || len(seen) > 0 {
		t.Errorf("of a network without a list: %v %v", seen, err)
	}
	if log := w.Log(); !strings.Contains(log, "mybr.egress has refused this") {
		t.Errorf("the log does not tell it:\n%s", log)
	}

	// Watched it passes, what is listed is not shown, and nothing is changed for the container.
	set("network", "set", "n0", modeOption+"=audit")
	matches(t, w)
	reaches(t, "watched", paths, all)
	shown("watched", "both", keys...)
	answered(t, "watched, the LAN at the published port", w.LANs[0].Get("tcp", world.HostAddr+":8090", soon))
	answered(t, "watched, what is new", app.Get("tcp", world.LANAddr+":81", soon))
	shown("watched, what is new", "let through", "app tcp "+world.LANAddr+" 81")

	// One container is enforced on a network that is watched.
	set("endpoint", "set", "app", modeOption+"=enforce")
	matches(t, w)
	reaches(t, "a container enforced", paths, "")
	set("endpoint", "set", "app", modeOption+"=")

	// What is suggested is enough.
	suggested := strings.TrimSpace(w.Host.Run("mybr", "egress", "suggest", "n0"))
	for _, entry := range []string{world.LANAddr + ":80/tcp", world.LANAddr + ":80/udp", entry, "[" + world.LANAddr6 + "]:80/tcp", "host:9"} {
		if list, ok := strings.CutPrefix(suggested, option+"="); !ok || !slices.Contains(strings.Split(list, ","), entry) {
			t.Errorf("suggested is %s, want %s in it", suggested, entry)
		}
	}
	set("network", "set", "n0", suggested, modeOption+"=enforce")
	matches(t, w)
	reaches(t, "suggested", paths, all)
	unanswered(t, "suggested, what was not seen", app.Get("tcp", world.LANAddr+":82", soon))
	shown("suggested", "refused", "app tcp "+world.LANAddr+" 82")

	// A mybr that is killed hears again when it is back, and what a network had goes with it.
	w.KillMybr()
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	unanswered(t, "after a restart", app.Get("tcp", world.LANAddr+":83", soon))
	shown("after a restart", "refused", "app tcp "+world.LANAddr+" 83")
	if seen, err := denials(w, "n0"); err != nil || seen[keys[0]] != "" {
		t.Errorf("after a restart: %v %v", seen, err)
	}
	for wrong, says := range map[string]string{
		"network set n0 mybr.egress.mode=warn":   "option mybr.egress.mode: warn: want enforce or audit",
		"network set n1 mybr.egress.mode=audit":  "option mybr.egress.mode: audit: there is no list that this could be about",
		"network set n0 mybr.egress=all":         "option mybr.egress.mode: enforce: there is no list that this could be about",
		"egress suggest nobody":                  `network "nobody" is unknown`,
		"egress suggest n0 --container somebody": `endpoint "somebody" is unknown`,
		"denied nobody":                          `network "nobody" is unknown`,
	} {
		if r := w.Host.Try(append([]string{"mybr"}, strings.Fields(wrong)...)...); r.Code != 1 || !strings.Contains(r.Err, says) {
			t.Errorf("mybr %s: %+v, want %q", wrong, r, says)
		}
	}
}
