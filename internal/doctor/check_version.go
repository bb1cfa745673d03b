package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func versionChecks() []Check {
	return []Check{
		{Name: "kernel", look: lookKernel,
			Sees:  "the kernel's version, against those that lack what mybr uses",
			Means: "What is named does not work, or not as well.",
			Mends: "installs the distribution's present kernel and boots it"},
		{Name: "engine", look: lookEngine,
			Sees:  "the version of Docker Engine and its settings, against those with known faults beside mybr",
			Means: "What is named does not work, or not as well.",
			Mends: "upgrades the engine, or changes the setting in /etc/docker/daemon.json and restarts Docker"},
	}
}

// release is a version's first three numbers.
type release [3]int

func (r release) before(o release) bool { return slices.Compare(r[:], o[:]) < 0 }

var numbers = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?`)

func parseRelease(text string) (r release, ok bool) {
	m := numbers.FindStringSubmatch(text)
	if m == nil {
		return r, false
	}
	for i := range r {
		r[i], _ = strconv.Atoi(m[i+1]) // none: 0
	}
	return r, true
}

// kernelFaults are what older kernels lack.
var kernelFaults = []struct {
	before  release
	verdict Verdict
	what    string
}{
	{release{4, 18}, Fault, "networks without icc can't be made: bridge ports can't be isolated (bridge(8), before 4.18)"},
	{release{5, 8}, Note, "the service that holds a host port is not named: sockets don't tell their control group (before 5.8)"},
	{release{5, 12}, Note, "connections end when others flush all rules: tables of nf_tables can't be owned (nft(8), before 5.12)"},
	{release{6, 2}, Note, "a bridge that is given its name back loses its IPv6 addresses for a moment (before 6.2)"},
}

func lookKernel(l *look) {
	text, ok, err := l.setting("kernel/osrelease")
	have, parsed := parseRelease(text)
	if err != nil {
		l.unknown(err)
		return
	}
	if !ok || !parsed {
		l.unknown(fmt.Errorf("the kernel's version is %q", text))
		return
	}
	for _, f := range kernelFaults {
		if have.before(f.before) {
			l.found(f.verdict, l.newKernel(), "kernel %s: %s", text, f.what)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("kernel %s", text)
	}
}

// newKernel is the command that installs the distribution's present kernel; nil if the
// distribution isn't known.
func (l *look) newKernel() []string {
	os, err := l.read("/etc/os-release")
	switch {
	case err != nil:
		return nil
	case strings.Contains("\n"+os, "\nID=debian"):
		return []string{"apt-get install -y linux-image-$(dpkg --print-architecture) && reboot"}
	case strings.Contains("\n"+os, "\nID=ubuntu"):
		return []string{"apt-get install -y linux-generic && reboot"}
	}
	return nil
}

// info is what of Docker's /info is looked at.
type info struct {
	ServerVersion      string
	LiveRestoreEnabled bool
	FirewallBackend    struct{ Driver string }
}

// engineFaults are what engines do beside mybr.
var engineFaults = []struct {
	from, before release // before is zero: all from then on
	when         func(info) bool
	verdict      Verdict
	what         string
	mend         func(l *look) []string
}{
	{before: release{20, 10}, verdict: Warning, mend: (*look).newEngine,
		what: "mybr is tested with engines from 20.10 on"},
	{from: release{28, 2}, before: release{28, 3, 3}, verdict: Note, mend: (*look).newEngine,
		what: "a reload of firewalld opens ports that Docker's own networks publish on 127.0.0.1 (CVE-2025-54388)"},
	{from: release{29}, verdict: Note, what: "mybr is tested with engines up to 28"},
	{from: release{29}, when: func(i info) bool { return i.LiveRestoreEnabled }, verdict: Warning,
		mend: func(*look) []string { return setDocker("live-restore", "false") },
		what: "with live-restore, containers that went on while dockerd was restarted can't be connected to a further network that is a gateway: the engine has forgotten their endpoints"},
	{when: func(i info) bool { return strings.HasPrefix(i.FirewallBackend.Driver, "nftables") }, verdict: Warning,
		mend: func(*look) []string { return setDocker("firewall-backend", `"iptables"`) },
		what: "its firewall is nftables: there is no DOCKER-USER, and with --firewall iptables mybr can't see which bridges are Docker's"},
}

func lookEngine(l *look) {
	var i info
	if err := l.ask("/info", &i); err != nil {
		l.unknown(err)
		return
	}
	have, ok := parseRelease(i.ServerVersion)
	if !ok {
		l.unknown(fmt.Errorf("the version of Docker Engine is %q", i.ServerVersion))
		return
	}
	for _, f := range engineFaults {
		if have.before(f.from) || f.before != (release{}) && !have.before(f.before) || f.when != nil && !f.when(i) {
			continue
		}
		var mend []string
		if f.mend != nil {
			mend = f.mend(l)
		}
		l.found(f.verdict, mend, "Docker Engine %s: %s", i.ServerVersion, f.what)
	}
	if len(l.Seen) == 0 {
		l.saw("Docker Engine %s", i.ServerVersion)
	}
}

// newEngine is the command that upgrades the engine.
func (l *look) newEngine() []string {
	name := "docker.io"
	if _, err := l.stat("/var/lib/dpkg/info/docker-ce.list"); err == nil {
		name = "docker-ce"
	}
	return []string{"apt-get update && apt-get install -y --only-upgrade " + name}
}

// setDocker is the command that changes a setting of dockerd, in a file that may be missing.
func setDocker(key, value string) []string {
	const file = "/etc/docker/daemon.json"
	return []string{"{ cat " + file + " 2>/dev/null || echo '{}'; } | jq '.\"" + key + "\" = " + value + "' >" + file + ".new && mv " + file + ".new " + file + " && systemctl restart docker"}
}
