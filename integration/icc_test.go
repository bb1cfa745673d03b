package integration

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestICC is about which containers of a network may begin connections to which others.
func TestICC(t *testing.T) {
	withEachBackend(t, nil, betweenContainers)
}

func betweenContainers(t *testing.T, w *world.World) {
	const icc, group = "mybr.icc", "mybr.group"
	w.Host.Start("guest", "serve", "tcp:90")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "-o", icc+"=web>db:80/tcp, *>dns:53/udp", "n0")
	on := func(address, groups string) []string {
		words := "name=n0,ip=172.18.0." + address + ",ip6=fd00:18::" + address
		if groups != "" {
			words += ",driver-opt=" + group + "=" + groups
		}
		return []string{"--network", words}
	}
	web := w.Serve("web", append(on("2", "web"), "-p", "8080:80"), "tcp:80", "udp:80")
	db := w.Serve("db", append(on("3", "db"), "-p", "8081:80"), "tcp:80", "tcp:81", "udp:80")
	w.Serve("dns", on("4", "dns"), "udp:53", "tcp:53")
	other := w.Idle("other", on("5", "")...)
	get := func(from *world.Place, network, to string) func() world.Outcome {
		return func() world.Outcome { return from.Get(network, to, soon) }
	}
	paths := map[string]func() world.Outcome{
		"webdb": get(web, "tcp", "172.18.0.3:80"), "webdb6": get(web, "tcp", "[fd00:18::3]:80"), "webdb81": get(web, "tcp", "172.18.0.3:81"), "webdbudp": get(web, "udp", "172.18.0.3:80"),
		"dbweb": get(db, "tcp", "172.18.0.2:80"), "dbweb6": get(db, "tcp", "[fd00:18::2]:80"), "otherdb": get(other, "tcp", "172.18.0.3:80"),
		"otherdns": get(other, "udp", "172.18.0.4:53"), "webdns6": get(web, "udp", "[fd00:18::4]:53"), "dnstcp": get(other, "tcp", "172.18.0.4:53"),
		"published": get(web, "tcp", world.HostAddr+":8081"), "gateway": get(web, "tcp", "172.18.0.1:8081"), "own": get(web, "tcp", world.HostAddr+":8080"),
		"host": get(other, "tcp", "172.18.0.1:90"),
	}
	var all []string
	for name := range paths {
		all = append(all, name)
	}
	open := func(what, want string) {
		t.Helper()
		reaches(t, what, paths, want)
		answered(t, what+": the LAN, at the published port", w.LAN.Get("tcp", world.HostAddr+":8081", soon))
		answered(t, what+": the LAN, from a container", web.Get("tcp", world.HostAddr+":90", soon))
	}
	set := func(args ...string) { t.Helper(); w.Host.Run(append([]string{"mybr"}, args...)...) }
	const asListed = "webdb webdb6 otherdns webdns6 host"
	for _, call := range []string{"0", "1"} {
		w.Host.Run("sh", "-c", "echo "+call+" | tee /proc/sys/net/bridge/bridge-nf-call-iptables /proc/sys/net/bridge/bridge-nf-call-ip6tables")
		open("bridge-nf-call-iptables="+call, asListed)
	}
	matches(t, w)
	for args, want := range map[string]string{"web db:80": "", "web db:81": "mybr.icc", "db web:80": "mybr.icc", "other dns:53/udp": "", "other db:80": "mybr.icc"} {
		if r := w.Host.Try(append([]string{"mybr", "explain"}, strings.Fields(args)...)...); (r.Code == 0) != (want == "") || !strings.Contains(r.Out, want) {
			t.Errorf("mybr explain %s: %+v, want %q", args, r, want)
		}
	}
	if shown := w.Host.Run("mybr", "network", "inspect", "n0"); !strings.Contains(shown, "containers may begin *>dns:53/udp,web>db:80/tcp") || !strings.Contains(shown, "db mybr.group=db") {
		t.Errorf("mybr network inspect does not say it:\n%s", shown)
	}

	if shown := w.Host.Run("mybr", "endpoint", "ls", "n0"); !strings.Contains(shown, "GROUPS") || !strings.Contains(shown, "yes     dns\n") {
		t.Errorf("mybr endpoint ls does not show groups:\n%s", shown)
	}

	// What others undo is put right, and an end of mybr opens nothing.
	w.Host.Run("nft", "flush", "chain", "bridge", "mybr-spoof", "forward")
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	w.Host.Run("nft", "delete", "table", "bridge", "mybr-spoof")
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	open("healed", asListed)
	w.KillMybr()
	unanswered(t, "mybr is away", paths["webdb81"]())
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	open("after a restart", asListed)

	// What has begun ends, or goes on; that of a published port, which everybody could reach, too.
	set("network", "set", "n0", icc+"=all")
	open("all", strings.Join(all, " "))
	stay := w.Traffic(web.Flow(report.Stream, "172.18.0.3:80"), w.LAN.Flow(report.Stream, world.HostAddr+":8081"))
	end := w.Traffic(web.Flow(report.Stream, "172.18.0.3:81"), web.Flow(report.UDP, "172.18.0.3:80"), db.Flow(report.Stream, "172.18.0.2:80"), web.Flow(report.Stream, world.HostAddr+":8081"))
	set("network", "set", "n0", icc+"=web>db:80/tcp,*>dns:53/udp")
	open("a list that comes", asListed)
	if seen := stay.Stop(); seen.Broken() > 0 || seen.Gap() > time.Second || seen.Unsettled() > 0 {
		t.Errorf("what may go on was interrupted:\n%v", seen)
	}
	if seen := end.Stop(); seen.Unsettled() != len(seen) {
		t.Errorf("what may not go on does:\n%v", seen)
	}
	set("network", "set", "n0", icc+"=none")
	open("none", "published gateway own host") // by the process, as with Docker's own driver
	set("network", "set", "n0", icc+"=")
	set("endpoint", "set", "other", group+"=web,none-of-it")
	open("another group", asListed+" otherdb")
	set("endpoint", "set", "other", group+"=")
	for _, wrong := range []struct{ args, says string }{
		{"network set n0 mybr.icc=web:80", "option mybr.icc: web:80: want GROUP>GROUP"},
		{"network set n0 mybr.spoof=allow", "option mybr.spoof: allow can't be had together with mybr.icc"},
		{"endpoint set web mybr.group=a*", "option mybr.group: a* is no name of a group"},
		{"endpoint set web mybr.icc=all", "option mybr.icc is one of networks"},
	} {
		if r := w.Host.Try(append([]string{"mybr"}, strings.Fields(wrong.args)...)...); r.Code != 1 || !strings.Contains(r.Err, wrong.says) {
			t.Errorf("mybr %s: %+v, want %q", wrong.args, r, wrong.says)
		}
	}
	open("at last", asListed)
	matches(t, w)
}

const groupsFile = `services:
  web:
    image: guest
    command: serve tcp:80
    networks:
      shop: {driver_opts: {mybr.group: web}}
  db:
    image: guest
    command: serve tcp:80 tcp:81
    networks:
      shop: {ipv4_address: 172.30.0.3, driver_opts: {mybr.group: db}}
networks:
  shop:
    driver: mybr
    driver_opts: {mybr.icc: "web>db:80"}
    ipam: {config: [{subnet: 172.30.0.0/16}]}
`

// TestICCCompose has the groups of services in a Compose file.
func TestICCCompose(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	w, compose := composeWorld(t, "28.5")
	file := filepath.Join(t.TempDir(), "shop.yaml")
	write(t, file, groupsFile)
	compose("shop", file, "up", "-d")
	webID, dbID := service(w, "web"), service(w, "db")
	w.Ready(webID)
	w.Ready(dbID)
	web := w.Container(webID)
	answered(t, "web to db", web.Get("tcp", "172.30.0.3:80", soon))
	unanswered(t, "web to another port of db", web.Get("tcp", "172.30.0.3:81", soon))
	unanswered(t, "db to web", w.Container(dbID).Get("tcp", w.Addr(webID, "shop_shop")+":80", soon))
	compose("shop", file, "down", "-t", "0")
}
