package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (e Env) stat(p string) (fs.FileInfo, error) { return os.Stat(e.path(p)) }

func processChecks() []Check {
	return []Check{
		{Name: "running", look: lookRunning,
			Sees:  "whether mybr serve answers on its admin socket",
			Means: "Containers that run keep their networks, but their ports don't answer at 127.0.0.1 and [::1], nor those that mybr relays; none can be started, stopped cleanly, or connected; what others undo stays undone.",
			Mends: "starts the service (or the managed plugin, or the process)"},
		{Name: "second-mybr", look: lookSecond,
			Sees:  "which process holds mybr's lock in this network namespace, and whether Docker has mybr as a managed plugin too",
			Means: "Two at a time would undo each other's rules. The second one refuses to start, so that Docker may talk to the wrong one, or to none.",
			Mends: "ends the other process, or disables the managed plugin"},
		{Name: "plugin-socket", look: lookSocket,
			Sees:  "whether the socket is where Docker looks for plugins, and whether a network driver answers on it",
			Means: "Docker can't find mybr: `docker run` on its networks fails after some 15 s with `plugin \"mybr\" not found`, or with `dial unix /run/docker/plugins/mybr.sock: connect: no such file or directory`.",
			Mends: "restarts mybr, which makes its sockets anew"},
		{Name: "version", look: lookVersion,
			Sees:  "the version of the running mybr and of this command",
			Means: "mybr was upgraded, and the old process still runs.",
			Mends: "restarts mybr; connections that NAT translates go on meanwhile"},
		{Name: "last-pass", look: lookPass,
			Sees:  "how the last attempt to make the host match the records ended",
			Means: "Something that a container needs is not there. It is tried again, at most 30 s apart.",
			Mends: "has it tried at once, when the reason that is named is gone"},
		{Name: "matches", look: lookMatches,
			Sees:  "what the host has otherwise than mybr has recorded (as mybr status --diff)",
			Means: "Somebody changed links, rules, settings or sockets of mybr's, and mybr has not put them right.",
			Mends: "has mybr put everything right that is its own"},
		{Name: "watching", look: lookWatching,
			Sees:  "whether mybr notices at once what others change",
			Means: "What others undo stays undone until the next full check, or until mybr is restarted.",
			Mends: "restarts mybr without the setting that turns it off"},
		{Name: "denials", look: lookDenials,
			Sees:  "whether mybr hears of what egress lists (`mybr.egress`) refuse, where there are some",
			Means: "Lists are enforced all the same, but `mybr denied`, the log and the metrics don't tell what they refuse, and `mybr egress suggest` knows nothing of it.",
			Mends: "ends the other program that listens to mybr's group of nfnetlink_log; where the kernel hasn't got that there is no command"},
		{Name: "fights", look: lookFights,
			Sees:  "what mybr has put right again and again, and who undid it",
			Means: "Another program undoes mybr's work for as long as both run; mybr answers at longer and longer intervals.",
			Mends: "ends the other program, if it is known and still runs"},
		{Name: "descriptors", look: lookDescriptors,
			Sees:  "how many files and sockets mybr has open, against its limit",
			Means: "Each published port takes one, each relayed TCP connection two: more ports are refused, and clients are turned away.",
			Mends: "raises the limit and restarts mybr"},
	}
}

func lookRunning(l *look) {
	p, err := l.running()
	switch {
	case l.Process == nil:
		l.unknown(err)
	case err != nil:
		l.found(Fault, l.start(), "%v", err)
	default:
		l.saw("mybr %s runs, pid %d", p.Version, p.PID)
	}
}

// needs asks the running mybr; without an answer the check can't tell.
func (l *look) needs() (p Process, ok bool) {
	p, err := l.running()
	if err != nil {
		l.found(Unknown, nil, "mybr does not answer, see the check running")
	}
	return p, err == nil
}

func lookSecond(l *look) {
	h, err := l.lockHolder()
	if err != nil {
		l.unknown(err)
		return
	}
	_, errRunning := l.running()
	switch {
	case h.Held && h.PID != 0 && !h.Root:
		l.found(Warning, command("kill", strconv.Itoa(h.PID)), "%s, which is not root's, holds the lock of this network namespace: a second mybr would not be noticed", l.named(h.PID))
	case h.Held && h.PID != 0 && errRunning != nil && l.Process != nil:
		l.found(Fault, command("kill", strconv.Itoa(h.PID)), "%s runs in this network namespace, but does not answer on %s", l.named(h.PID), l.RunDir)
	case h.Held && h.PID != 0:
		l.saw("%s holds the lock of this network namespace", l.named(h.PID))
	case h.Held:
		l.saw("a process that can't be seen from here holds the lock of this network namespace")
	default:
		l.saw("nobody holds the lock of this network namespace")
	}
	l.lookManaged()
}

// lookManaged looks for the managed plugin beside the service.
func (l *look) lookManaged() {
	if l.managed() {
		return
	}
	var plugins []struct {
		Name    string
		Enabled bool
	}
	if l.ask("/plugins", &plugins) != nil { // the check engine says why Docker can't be asked
		return
	}
	for _, p := range plugins {
		if p.Enabled && pluginName(p.Name) == l.Name {
			l.found(Warning, command("docker", "plugin", "disable", "-f", p.Name), "Docker has the managed plugin %s enabled beside the service", p.Name)
		}
	}
}

func lookSocket(l *look) {
	path := filepath.Join(l.PluginDir, l.Name+".sock")
	p, err := l.running()
	mend := l.start()
	if err == nil {
		mend = l.restart(p)
	}
	if info, err := l.stat(path); err != nil {
		l.found(Fault, mend, "%v", err)
		return
	} else if info.Mode().Type() != fs.ModeSocket {
		l.found(Fault, append(command("rm", "-r", path), mend...), "%s is no socket", path)
		return
	}
	if l.Plugin == nil {
		l.unknown(errNotAsked)
		return
	}
	kinds, err := l.Plugin(l.ctx, l.path(path))
	switch {
	case err != nil:
		l.found(Fault, mend, "%s: %v", path, err)
	case !slices.Contains(kinds, "NetworkDriver"):
		l.found(Fault, mend, "%s answers, but is no network driver: it implements %s", path, strings.Join(kinds, ", "))
	default:
		l.saw("%s answers as %s", path, strings.Join(kinds, " and "))
	}
}

func lookVersion(l *look) {
	p, ok := l.needs()
	switch {
	case !ok:
	case p.Version != l.Version:
		l.found(Warning, l.restart(p), "mybr %s runs, and this is %s", p.Version, l.Version)
	default:
		l.saw("both are %s", p.Version)
	}
}

func lookPass(l *look) {
	p, ok := l.needs()
	switch {
	case !ok:
	case p.LastError != "":
		l.found(Fault, l.sync(), "for %s: %s", p.FailedFor.Round(time.Second), p.LastError)
	case !p.Ready:
		l.found(Note, nil, "mybr has just started, and its first pass is under way")
	default:
		l.saw("the last pass went well")
	}
}

func lookMatches(l *look) {
	p, ok := l.needs()
	if !ok {
		return
	}
	p = l.settled(p)
	if n := len(p.Differences); n > 0 {
		l.found(Warning, l.sync(), "the host differs in %s: %s", count(n, "place"), some(p.Differences, 5))
	}
	if p.Unknown != "" {
		l.found(Unknown, nil, "not all could be compared: %s; ask again in a moment", p.Unknown)
	}
	if l.Verdict == OK {
		l.saw("the host matches the records")
	}
}

// interval is the setting that turns watching off.
const interval = "resync-interval"

func lookWatching(l *look) {
	p, ok := l.needs()
	switch {
	case !ok:
	case p.Unwatched != "":
		l.found(Warning, l.restartWithout(p, interval, ""), "changes by others are not noticed at once: %s", p.Unwatched)
	default:
		l.saw("changes by others are noticed at once")
	}
}

// refusedGroup is the group that firewall.RefusedGroup says.
const refusedGroup = "28002"

func lookDenials(l *look) {
	p, ok := l.needs()
	switch {
	case !ok:
	case p.Unheard == "":
		l.saw("mybr hears of what egress lists refuse, or there are none")
	default:
		var mend []string
		text, err := l.read(ofThread + "netfilter/nfnetlink_log")
		for line := range strings.Lines(text) { // group, port of the socket, and more; the port is its process' PID as a rule (netlink(7))
			f := strings.Fields(line)
			if err != nil || len(f) < 2 || f[0] != refusedGroup {
				continue
			}
			if pid, err := strconv.Atoi(f[1]); err == nil && pid > 0 && pid != p.PID && l.command(pid) != nil {
				mend = command("kill", strconv.Itoa(pid))
				l.saw("%s listens to group %s of nfnetlink_log", l.named(pid), refusedGroup)
			}
		}
		l.found(Warning, mend, "what egress lists refuse is not heard of: %s", p.Unheard)
	}
}

// program is how mybr names one: "nft (pid 123)".
var program = regexp.MustCompile(`^(.+) \(pid (\d+)\)$`)

func lookFights(l *look) {
	p, ok := l.needs()
	if !ok {
		return
	}
	for _, h := range p.Healed {
		if !h.Fights {
			l.saw("%s: put right %s, the last one %s ago", h.Aspect, count(h.Times, "time"), l.Now().Sub(h.Last).Round(time.Second))
			continue
		}
		by := program.FindStringSubmatch(h.By)
		switch {
		case by == nil && h.By == "":
			l.found(Warning, nil, "%s: put right %s, and undone again by a program that is not known: stop what manages links or rules beside mybr", h.Aspect, count(h.Times, "time"))
		case by == nil:
			l.found(Warning, nil, "%s: put right %s, and undone again by %s", h.Aspect, count(h.Times, "time"), h.By)
		case l.comm(by[2]) == by[1]:
			l.found(Warning, l.stop(by[2]), "%s: put right %s, and undone again by %s", h.Aspect, count(h.Times, "time"), h.By)
		default:
			l.saw("%s: put right %s; %s, who undid it, has ended", h.Aspect, count(h.Times, "time"), h.By)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("nothing had to be put right")
	}
}

// wantedFiles is what mybr's unit allows (LimitNOFILE in contrib/systemd/mybr.service).
const wantedFiles = 1048576

func lookDescriptors(l *look) {
	p, ok := l.needs()
	if !ok {
		return
	}
	pid := l.pid(p)
	limits, err := l.read(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		l.unknown(err)
		return
	}
	m := regexp.MustCompile(`(?m)^Max open files +(\d+)`).FindStringSubmatch(limits)
	open, err := os.ReadDir(l.path(fmt.Sprintf("/proc/%d/fd", pid)))
	if err != nil {
		l.unknown(err)
		return
	}
	if m == nil { // it has ended meanwhile
		l.unknown(fmt.Errorf("pid %d has no limit of open files", pid))
		return
	}
	most, _ := strconv.Atoi(m[1]) // it is of digits
	verdict := OK
	switch used := len(open) + min(256, most/4); { // that much is kept for mybr's own work (internal/relay)
	case used >= most*95/100:
		verdict = Fault
	case used >= most*80/100:
		verdict = Warning
	}
	var mend []string
	if verdict != OK {
		mend = l.raise(p)
	}
	l.found(verdict, mend, "%d of %d descriptors are in use", len(open), most)
}

// raise is the command that gives mybr more descriptors.
func (l *look) raise(p Process) []string {
	if l.unit(l.pid(p)) == service {
		return []string{fmt.Sprintf("mkdir -p /etc/systemd/system/%[1]s.d && printf '[Service]\\nLimitNOFILE=%[2]d\\n' >/etc/systemd/system/%[1]s.d/files.conf && "+
			"systemctl daemon-reload && systemctl restart %[1]s", service, wantedFiles)}
	}
	return l.restartWithout(p, "", fmt.Sprintf("ulimit -n %d; ", wantedFiles))
}
