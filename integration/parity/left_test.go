package parity

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// footprint is what a driver may leave on the host, by kind.
type footprint map[string][]string

// footprint looks at links, routes, rules, sockets, sandboxes and Docker's networks.
func (s *stage) footprint() footprint {
	f := footprint{}
	add := func(kind, what string) { f[kind] = append(f[kind], normal(what)) }
	for _, l := range s.w.Host.Links() {
		add("links", l.Name)
	}
	for _, a := range s.w.Host.Addrs() {
		if !a.Prefix.Addr().IsLinkLocalUnicast() {
			add("addresses", a.Dev+" "+a.Prefix.String())
		}
	}
	for _, r := range s.w.Host.Routes() {
		if !r.Dst.Addr().IsLinkLocalUnicast() {
			add("routes", r.Dst.String()+" dev "+r.Dev)
		}
	}
	for _, save := range []string{"iptables-save", "ip6tables-save"} {
		table := ""
		for line := range strings.Lines(s.w.Host.Try(save).Out) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " [")
			switch {
			case strings.HasPrefix(line, "*"):
				table = line[1:]
			case strings.HasPrefix(line, ":") && strings.HasSuffix(line, " ACCEPT") && (table != "filter" || !strings.HasPrefix(line, ":FORWARD")):
				// Chains of the kernel's are listed once their table has been used.
			case line != "" && line != "COMMIT" && !strings.HasPrefix(line, "#"):
				add("rules", save[:strings.IndexByte(save, '-')]+" "+table+" "+line)
			}
		}
	}
	var tables []string
	if s.w.Backend() == world.NFTables {
		tables = s.w.Host.Tables()
	}
	for _, line := range append(tables, s.w.Host.Senders()...) {
		add("rules", "nft "+line)
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(s.w.Path("/proc/1/net/" + table))
		if err != nil {
			s.t.Fatalf("read sockets: %v", err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line) // proc_net(5): 1 is the local address, 3 the state: 0A is LISTEN, 07 an unconnected UDP socket
			if len(fields) > 3 && (fields[3] == "0A" || fields[3] == "07") {
				add("sockets", table+" "+fields[1])
			}
		}
	}
	mounts, err := os.ReadFile(s.w.Path("/proc/1/mountinfo"))
	if err != nil {
		s.t.Fatalf("read mounts: %v", err)
	}
	for range strings.Count(string(mounts), " - nsfs ") {
		add("sandboxes", "one")
	}
	for _, name := range s.networks() {
		add("networks", name)
	}
	for _, list := range f {
		slices.Sort(list)
	}
	return f
}

// change is what came and what went between two footprints, by kind.
func (before footprint) change(after footprint) map[string]string {
	out := map[string]string{}
	for _, kind := range []string{"links", "addresses", "routes", "rules", "sockets", "sandboxes", "networks"} {
		var words []string
		for _, one := range minus(after[kind], before[kind]) {
			words = append(words, "+ "+one)
		}
		for _, one := range minus(before[kind], after[kind]) {
			words = append(words, "- "+one)
		}
		if len(words) > 0 {
			out[kind] = strings.Join(words, "; ")
		}
	}
	return out
}

// minus is a without what is in b, each as often as it is there.
func minus(a, b []string) (out []string) {
	count := map[string]int{}
	for _, one := range b {
		count[one]++
	}
	for _, one := range a {
		if count[one]--; count[one] < 0 {
			out = append(out, one)
		}
	}
	return out
}

// clear removes all containers and networks, which are facts, and whatever the scenario
// undoes itself.
func (s *stage) clear() {
	if names := s.containers(); len(names) > 0 {
		s.docker(append([]string{"rm", "-f"}, names...)...)
	}
	builtin := func(name string) bool { return slices.Contains([]string{"bridge", "host", "none"}, name) }
	if names := slices.DeleteFunc(s.networks(), builtin); len(names) > 0 {
		s.docker(append([]string{"network", "rm"}, names...)...)
	}
	for _, f := range slices.Backward(s.undo) {
		s.t.do(f)
	}
	s.undo = nil
}

// containers lists all containers by name.
func (s *stage) containers() (names []string) {
	var all []struct{ Names []string }
	s.w.API("/containers/json?all=1", &all)
	for _, c := range all {
		for _, name := range c.Names { // with links of others, such as /web/db
			if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// networks lists Docker's networks by name.
func (s *stage) networks() (names []string) {
	var all []struct{ Name string }
	s.w.API("/networks", &all)
	for _, n := range all {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}

// left compares the host with what it was before the play, once everything is removed:
// the kernel and Docker take a link or a sandbox away a moment after they say so.
func (s *stage) left() (clean bool) {
	var change map[string]string
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		change = s.before.change(s.footprint())
		if len(change) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, kind := range []string{"links", "addresses", "routes", "rules", "sockets", "sandboxes", "networks"} {
		value := change[kind]
		if value == "" {
			value = "nothing"
		}
		s.fact("left: "+kind, value)
	}
	for _, l := range s.w.Host.Links() {
		if l.Name == "docker_gwbridge" {
			s.t.Fatalf("docker_gwbridge is there")
		}
	}
	return len(change) == 0
}
