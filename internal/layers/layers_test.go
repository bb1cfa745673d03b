// Package layers tests how the project is built: which way imports go, where each
// dependency may be used, and that every package says what it is for.
package layers

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mybr/mybr/"

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// packages lists the project's packages without their tests.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
	if len(all) < 10 {
		t.Fatalf("found %d packages only", len(all))
	}
	return all
}

// leaf stands for every leaf in layers: a package below internal that layers does not
// name. It knows nothing of the other leaves, save as siblings says.
const leaf = "a leaf"

// layers says which packages each package may import.
var layers = map[string][]string{
	"cmd/mybr":    {"plugin", "internal/view", "internal/event", "internal/docker", "internal/topology", "internal/topology/here", "internal/doctor", "internal/explain", "internal/explain/host", "internal/compose", "internal/fold"},
	"plugin":      {"driver", "ipam", "internal/store", "internal/reconcile", "internal/model", "internal/egress", "internal/plan", "internal/view", leaf, "internal/doctor", "internal/jsonwalk"},
	"plugin/pack": nil,

	"driver": {"internal/model", "internal/egress", "internal/icc", "internal/arbitrate", "internal/jsonwalk"},
	"ipam":   {"internal/model"},

	"internal/reconcile": {"internal/model", "internal/egress", "internal/icc", "internal/plan", leaf},
	"internal/store":     {"internal/model"},
	"internal/arbitrate": {"internal/model"},
	"internal/egress":    {"internal/model"},
	"internal/icc":       {"internal/model"},
	"internal/view":      {"internal/model"},
	"internal/docker":    nil, // the commands alone: the process never speaks to Docker
	"internal/doctor":    {"internal/model", "internal/view", "internal/dump", "internal/explain", "internal/shell"},
	"internal/compose":   nil,
	"internal/plan":      nil,
	"internal/jsonwalk":  nil,
	"internal/shell":     nil,
	"internal/fold":      nil,
	"internal/model":     nil,
	"internal/fault":     nil, // everybody may import it
}

// siblings says which leaf may import which other one.
var siblings = map[string][]string{
	"internal/egress/carry":  {"internal/egress/hello", "internal/egress/hosts"},
	"internal/egress/denied": {"internal/egress/hosts"},
	"internal/egress/hello":  {"internal/egress/hosts"},
	"internal/egress/names":  {"internal/egress/hosts"},
	"internal/egress/byname": {"internal/egress", "internal/egress/carry", "internal/egress/denied", "internal/egress/hosts",
		"internal/egress/names", "internal/egress/web"},
	"internal/egress/web":            {"internal/egress/hosts"},
	"internal/explain":               {"internal/fold", "internal/shell", "internal/view"},
	"internal/explain/host":          {"internal/dump", "internal/explain", "internal/view"},
	"internal/firewall/backend":      {"internal/firewall", "internal/firewall/iptables", "internal/firewall/nftables"},
	"internal/conntrack":             {"internal/egress"},
	"internal/firewall":              {"internal/egress"},
	"internal/firewall/firewalltest": {"internal/egress", "internal/firewall", "internal/nettest", "internal/nflog"},
	"internal/firewall/iptables":     {"internal/egress", "internal/firewall"},
	"internal/firewall/nftables":     {"internal/egress", "internal/firewall", "internal/firewall/iptables", "internal/icc", "internal/spoof"},
	"internal/hostport":              {"internal/relay"},
	"internal/spoof":                 {"internal/icc"},
	"internal/metrics":               {"internal/view"},
	"internal/page":                  {"internal/view"},
	"internal/topology":              {"internal/view"},
	"internal/topology/here":         {"internal/dump", "internal/topology", "internal/view"},
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, "integration") || p.ImportPath == "internal/nettest" {
			continue
		}
		may, known := layers[p.ImportPath]
		if !known {
			if !strings.HasPrefix(p.ImportPath, "internal/") {
				t.Errorf("%s is in no layer: add it to layers", p.ImportPath)
			}
			may = append([]string{"internal/model", "internal/plan"}, siblings[p.ImportPath]...)
		}
		for _, i := range p.Imports {
			name, ours := strings.CutPrefix(i, module)
			_, named := layers[name]
			isLeaf := strings.HasPrefix(name, "internal/") && !named
			if ours && name != "internal/fault" && !slices.Contains(may, name) && !(isLeaf && slices.Contains(may, leaf)) {
				t.Errorf("%s imports %s", p.ImportPath, name)
			}
		}
	}
}

// Only tests say what goes wrong at a point.
func TestOnlyTestsSetFaults(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath == "internal/fault" {
			continue
		}
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("fault.Set(")) {
				t.Errorf("%s/%s calls fault.Set", p.ImportPath, name)
			}
		}
	}
}

// users says where a dependency may be used: one dependency, one package.
var users = map[string][]string{
	"github.com/docker/go-plugins-helpers": {"plugin", "driver", "ipam"},
	"go.etcd.io/bbolt":                     {"internal/store"},
	"github.com/vishvananda/netlink":       {"internal/link", "internal/conntrack", "internal/hostport", "internal/watch", "internal/dump", "internal/doctor", "internal/topology/here", "internal/explain/host", "internal/nettest", "integration"},
	"github.com/sirupsen/logrus":           {"cmd", "plugin", "internal/reconcile"},
	"github.com/spf13/cobra":               {"cmd"},
	"github.com/coreos/go-systemd/v22":     {"plugin", "integration/unit"},
	"github.com/godbus/dbus/v5":            {"internal/firewalld"},
	"github.com/prometheus/client_golang":  {"internal/metrics"},
	"golang.org/x/sync":                    {"plugin", "integration/bench/run"},
	"github.com/rivo/uniseg":               {"internal/topology"},
	"go.yaml.in/yaml/v3":                   {"internal/compose"},
	"github.com/google/nftables":           {"internal/firewall/nftables"},
	"github.com/mdlayher/netlink":          {"internal/firewall/nftables"},
}

func TestOneDependencyOnePackage(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			for dep, may := range users {
				if i != dep && !strings.HasPrefix(i, dep+"/") {
					continue
				}
				if !slices.ContainsFunc(may, func(user string) bool { return p.ImportPath == user || strings.HasPrefix(p.ImportPath, user+"/") }) {
					t.Errorf("%s imports %s", p.ImportPath, i)
				}
			}
		}
	}
}

func TestModelImportsTheStandardLibraryOnly(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			if p.ImportPath == "internal/model" && strings.Contains(strings.Split(i, "/")[0], ".") {
				t.Errorf("internal/model imports %s", i)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		var doc string
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				doc += f.Doc.Text()
			}
		}
		if doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if strings.HasPrefix(p.ImportPath, "internal/") && !strings.Contains(doc, "Be aware") && p.ImportPath != "internal/nettest" {
			t.Errorf("%s's package comment does not say what to be aware of", p.ImportPath)
		}
	}
}
