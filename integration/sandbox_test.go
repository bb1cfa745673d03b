package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// sandboxDNS is the name server of the recipe for untrusted code in docs/policy.md.
const sandboxDNS = "192.0.2.53"

// sandbox is that recipe, running.
type sandbox struct {
	*namedHosts
	recipe string
	paths  map[string]func() world.Outcome
}

// TestSandboxRecipe takes up the Compose file of the recipe as it stands in docs/policy.md, types its
// commands, and tries to get out. Each way is shown to be open when the lists are lifted.
func TestSandboxRecipe(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	page, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(page), "\n## A sandbox for untrusted code in five minutes\n")
	recipe, _, _ = strings.Cut(recipe, "\n## ")
	_, project, _ := strings.Cut(recipe, "```yaml\n")
	project, _, found := strings.Cut(project, "```")
	if !found {
		t.Fatal("docs/policy.md has no Compose file in the recipe")
	}
	w := world.New(t, world.Config{Engine: "28.5", LANs: []string{secondLAN, sandboxDNS}})
	compose := composeIn(t, w)
	for image, servers := range map[string]string{"agent": `"tcp:8080"`, "postgres:17": `"tcp:5432","tcp:5433"`} {
		w.Docker("create", "--name", "proto", world.Image)
		w.Docker("commit", "--change", `CMD ["serve",`+servers+`]`, "proto", image)
		w.Docker("rm", "proto")
	}
	var resolvers []*world.Proc // the host's, and the one that the file names
	for _, at := range []*world.Place{w.LANs[0], w.LANs[2]} {
		resolvers = append(resolvers, at.Start("guest", "zone", "api.github.com="+world.LANAddr, "registry.npmjs.org="+world.LANAddr, "evil.example="+secondLAN))
	}
	w.LANs[0].Start("guest", "site", namedTrust, "api.github.com", "registry.npmjs.org")
	w.LANs[0].Start("guest", "serve", "tcp:81")
	w.LANs[1].Start("guest", "site", "/run/evil.pem", "evil.example")
	w.LANs[1].Start("guest", "serve", "tcp:22")
	w.Host.Start("guest", "serve", "tcp:90")

	file := filepath.Join(t.TempDir(), "compose.yaml")
	write(t, file, project)
	compose("sandbox", file, "up", "-d")
	agentID, dbID := service(w, "agent"), service(w, "db")
	w.Ready(agentID)
	w.Ready(dbID)
	agent, db, dbAddr := w.Container(agentID), w.Container(dbID), w.Addr(dbID, "sandbox_jail")
	gateway := w.Docker("inspect", "-f", `{{(index .NetworkSettings.Networks "sandbox_jail").Gateway}}`, agentID)
	get := func(from *world.Place, to string) func() world.Outcome {
		return func() world.Outcome { return from.Get("tcp", to, soon) }
	}
	s := &sandbox{namedHosts: &namedHosts{World: w, t: t, app: agent}, recipe: recipe, paths: map[string]func() world.Outcome{
		"agent-db": get(agent, dbAddr+":5432"), "agent-db-other": get(agent, dbAddr+":5433"), "db-agent": get(db, w.Addr(agentID, "sandbox_jail")+":8080"),
		"agent-address": get(agent, secondLAN+":22"), "agent-listed-host-other": get(agent, world.LANAddr+":81"), "db-out": get(db, world.LANAddr+":81"),
		"agent-gateway": get(agent, gateway+":90"), "agent-host": get(agent, world.HostAddr+":90"),
	}}
	if got := w.Docker("inspect", "-f", "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}", agentID); got != "true [ALL] [no-new-privileges:true]" {
		t.Errorf("the container was made with %s", got)
	}

	s.kept("up")
	if got := w.Docker("exec", agentID, "/guest", "lookup", "api.github.com", "db", "evil.example"); !strings.Contains(got, `"`+world.LANAddr+`"`) ||
		!strings.Contains(got, dbAddr) || strings.Contains(got, secondLAN) {
		t.Errorf("Docker's resolver: %s", got)
	}
	for i, r := range resolvers {
		// mybr answers in place of the file's, and asks the host's for listed names alone.
		if asked := r.Lines(); slices.Contains(asked, "evil.example") || slices.Contains(asked, "api.github.com") != (i == 0) {
			t.Errorf("resolver %d was asked for %q", i, asked)
		}
	}
	s.tells("refused", "dns evil.example 0", "tcp evil.example 443", "tcp "+secondLAN+" 22")
	if denied := s.types("mybr denied sandbox_jail"); !strings.Contains(denied, "evil.example") {
		t.Errorf("mybr denied does not have the name:\n%s", denied)
	}
	if list := s.types("mybr egress suggest sandbox_jail"); !strings.HasPrefix(list, "mybr.egress=") || !strings.Contains(list, "api.github.com") || !strings.Contains(list, "evil.example:443") {
		t.Errorf("suggested is %s", list)
	}

	// Watched, agent's list lets all pass; without the others db's ways are open, too.
	s.types("mybr endpoint set sandbox-agent-1 mybr.egress.mode=audit")
	const watched = "agent-db agent-address agent-listed-host-other agent-gateway agent-host"
	reaches(t, "watched", s.paths, watched)
	s.says("watched: DNS", "SUCCESS "+secondLAN, "query", sandboxDNS+":53", "evil.example")
	s.says("watched: TLS", "200 evil.example at", "fetch", "-trust", "/run/evil.pem", "https://evil.example/")
	s.tells("both", "tcp "+secondLAN+" 22")
	w.Eventually(10*time.Second, func() error {
		if asked := resolvers[1].Lines(); !slices.Contains(asked, "evil.example") {
			return fmt.Errorf("watched: the file's resolver was asked for %q", asked)
		}
		return nil
	})
	w.Host.Run("mybr", "network", "set", "sandbox_jail", "mybr.icc=all")
	w.Host.Run("mybr", "endpoint", "set", "sandbox-db-1", "mybr.egress=all")
	reaches(t, "without lists", s.paths, watched+" agent-db-other db-agent db-out")

	w.Host.Run("mybr", "network", "set", "sandbox_jail", "mybr.icc=")
	w.Host.Run("mybr", "endpoint", "set", "sandbox-db-1", "mybr.egress=")
	s.types("mybr endpoint set sandbox-agent-1 mybr.egress.mode=")
	s.kept("enforced again")
	matches(t, w)
	compose("sandbox", file, "down", "-t", "0")
}

// kept fails the test unless the containers reach what the file lists, and nothing else.
func (s *sandbox) kept(what string) {
	s.t.Helper()
	for _, name := range []string{"api.github.com", "registry.npmjs.org"} {
		s.says(what+": TLS of "+name, "200 "+name+" at", "fetch", "-trust", namedTrust, "https://"+name+"/")
	}
	s.says(what+": DNS of what is not listed", "REFUSED", "query", sandboxDNS+":53", "evil.example")
	s.fails(what+": TLS of what is not listed", "access denied", "fetch", "-trust", "/run/evil.pem", "-at", secondLAN, "https://evil.example/")
	s.fails(what+": TLS without a name", "missing extension", "fetch", "-name", "-", "-at", secondLAN, "https://evil.example/")
	reaches(s.t, what, s.paths, "agent-db")
}

// tells fails the test unless mybr denied shows agent's attempts, with what became of them.
func (s *sandbox) tells(verdict string, attempts ...string) {
	s.t.Helper()
	s.Eventually(10*time.Second, func() error {
		seen, err := denials(s.World, "sandbox_jail")
		for _, a := range attempts {
			if key := "sandbox-agent-1 " + a; err == nil && !strings.HasPrefix(seen[key], verdict+" ") {
				err = fmt.Errorf("%s is %q, want %s: %v", key, seen[key], verdict, seen)
			}
		}
		return err
	})
}

// types runs a line of the recipe, which has to have it.
func (s *sandbox) types(line string) string {
	s.t.Helper()
	if !slices.ContainsFunc(strings.Split(s.recipe, "\n"), func(l string) bool {
		l, _, _ = strings.Cut(l, "#")
		return strings.TrimSpace(l) == line
	}) {
		s.t.Errorf("the recipe has no line %q", line)
	}
	return s.Host.Run(strings.Fields(line)...)
}
