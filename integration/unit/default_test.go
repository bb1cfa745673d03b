package unit

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
)

// Each setting in the package's /etc/default/mybr is one that mybr serve names, and none is
// set; what is missing there would not work within the unit.
func TestDefaultSettings(t *testing.T) {
	text, err := os.ReadFile("../../contrib/debian/default")
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.Command("go", "run", "../../cmd/mybr", "serve", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	names := func(form string, text []byte) (found []string) {
		for _, m := range regexp.MustCompile(form).FindAllSubmatch(text, -1) {
			found = append(found, string(m[1]))
		}
		slices.Sort(found)
		return found
	}
	if set := names(`(?m)^([^#\n].*)$`, text); len(set) > 0 {
		t.Errorf("set are %q", set)
	}
	// Folders are the unit's (StateDirectory, BindPaths), and the name is the socket's.
	fixed := []string{"MYBR_NAME", "MYBR_PLUGIN_DIR", "MYBR_RUN_DIR", "MYBR_STATE_DIR", "MYBR_SYSCTL_ROOT"}
	have := append(names(`(?m)^# (MYBR_\w+)=`, text), fixed...)
	slices.Sort(have)
	if want := names(`\[(MYBR_\w+)\]`, help); !slices.Equal(have, want) {
		t.Errorf("settings are %q, of mybr serve %q", have, want)
	}
}
