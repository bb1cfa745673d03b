package metrics

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	dashboardFile = "../../contrib/grafana/mybr.json"
	rulesFile     = "../../contrib/prometheus/mybr.rules.yml"
	rulesTest     = "../../contrib/prometheus/mybr.rules.test.yml"
)

// dashboard is what is looked at of Grafana's JSON.
type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr string }
}

// The dashboard shows every family, each of its queries is one of Prometheus', names only
// metrics that there are, and its panels don't overlap.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	var expressions []string
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the ID %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q is at %+v, where %q is, or the edge", p.Title, p.GridPos, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	all := strings.Join(expressions, "\n")
	wantKnown(t, dashboardFile, all)
	for _, f := range Families() {
		if !slices.Contains(promNames(all), f.Name) {
			t.Errorf("no panel shows %s", f.Name)
		}
	}

	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for _, e := range expressions {
		quoted, err := json.Marshal(variables.Replace(e)) // which is YAML, too
		if err != nil {
			t.Fatal(err)
		}
		rules += "  - record: dashboard:panel\n    expr: " + string(quoted) + "\n    labels: {panel: " + strings.ReplaceAll(string(quoted), "{", "(") + "}\n"
	}
	path := t.TempDir() + "/rules.yml"
	if err := os.WriteFile(path, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", path)
}

// wantKnown fails the test if a text names a metric, or an outcome or another label's value,
// that there is not.
func wantKnown(t *testing.T, path, text string) {
	t.Helper()
	for _, name := range promNames(text) {
		if _, ok := byName()[name]; !ok {
			t.Errorf("%s names %s, which there is not", path, name)
		}
	}
	told := scrapeOf(t, full())
	for _, m := range regexp.MustCompile(`\b(?:outcome|state|kind|direction|source)!?="\w+"`).FindAllString(text, -1) {
		if label := strings.Replace(m, "!=", "=", 1); !strings.Contains(told, label) {
			t.Errorf("%s names %s, which there is not", path, label)
		}
	}
	for _, m := range regexp.MustCompile(`\b(?:process|go)_[a-z_]+`).FindAllString(text, -1) {
		if !strings.Contains(told, "\n"+m+" ") {
			t.Errorf("%s names %s, which there is not", path, m)
		}
	}
}

// The alert rules name only metrics that there are, and each of them is seen to fire.
func TestRules(t *testing.T) {
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ *expr: (.*)$`).FindAllStringSubmatch(string(rules), -1) {
		wantKnown(t, rulesFile, m[1])
	}
	tests, err := os.ReadFile(rulesTest)
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	if len(alerts) < 10 {
		t.Fatalf("found %d alerts only", len(alerts))
	}
	for _, m := range alerts {
		if !strings.Contains(string(tests), `{alertname="`+m[1]+`"}`) {
			t.Errorf("%s does not see %s fire", rulesTest, m[1])
		}
	}
	promtool(t, "check", "rules", rulesFile)
	promtool(t, "test", "rules", rulesTest)
	promtool(t, "check", "config", "../../contrib/prometheus/prometheus.yml")
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("promtool", args...).CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true":
		t.Log("promtool is not installed (Debian: prometheus)")
	case err != nil:
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
