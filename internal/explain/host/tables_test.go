package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/nettest"
)

// Without nft(8) it is said that there are rules which can't be read, but for what decides
// nothing: what iptables shows, and mybr's own table that keeps flows going.
func TestRulesWithoutNFT(t *testing.T) {
	host := nettest.New(t)
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables", "iptables-save", "ip6tables-save"} {
		path, err := exec.LookPath(strings.Replace(name, "tables", "tables-nft", 1))
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	read := func() (s explain.Space) {
		t.Helper()
		s.Name = "host"
		if err := readRules(t.Context(), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	host.Run("iptables", "-A", "FORWARD", "-j", "DROP")
	host.Run(nft, "add table inet mybr")
	if s := read(); s.Untold != "" || len(s.Filters) == 0 {
		t.Errorf("%q, %d families of iptables", s.Untold, len(s.Filters))
	}
	host.Run(nft, "add table ip6 mybr")
	s := read()
	if !strings.Contains(s.Untold, "table ip6 mybr") || !strings.Contains(s.Untold, "not installed") {
		t.Errorf("%q does not say that ip6 mybr can't be read", s.Untold)
	}
	if r := explain.Predict(&explain.World{Spaces: []*explain.Space{&s}}, explain.Query{From: "host"}); r.Verdict == explain.Delivered {
		t.Errorf("%+v", r)
	}
	if _, err := Counted(t.Context()); err == nil || !strings.Contains(err.Error(), "table ip6 mybr") {
		t.Errorf("counters: %v", err)
	}
}

// Whatever a table is called, no other command comes of it.
func TestTableWithAnOddName(t *testing.T) {
	for name, want := range map[string]bool{"ip mybr": true, "inet fire.walld_2-a/b": true, "ip x; flush ruleset": false, "ip x y": false, "ip 1x": false, "ip x\nlist": false, "ip ": false} {
		if listable.MatchString(name) != want {
			t.Errorf("%q: want %v", name, want)
		}
	}
}
