package world

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// lab is what the worlds of one test process share: a directory with the binaries.
type lab struct {
	Name string // mybr-test-PID-STARTTIME: begins the names of its worlds' control groups
	Dir  string

	skip    string   // why there can be no world here
	engines sync.Map // version → func() debian
	guest   string   // the guest program
	mybrs   sync.Map // overlay → func() (string, error)
	janitor io.Closer
	worlds  atomic.Int64
}

// theLab makes the lab at its first call.
var theLab = sync.OnceValues(newLab)

func newLab() (*lab, error) {
	if os.Getuid() != 0 {
		return &lab{skip: "needs root"}, nil
	}
	if err := sweepDead(); err != nil {
		return nil, err
	}
	name, err := runName(os.Getpid())
	if err != nil {
		return nil, err
	}
	l := &lab{Name: name, Dir: filepath.Join(os.TempDir(), name)}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := l.startJanitor(); err != nil {
		return nil, err
	}
	l.guest = filepath.Join(l.Dir, "guest")
	if err := goBuild(l.guest, "./integration/guest"); err != nil {
		return nil, err
	}
	return l, nil
}

// mybr is the program that is tested, built at the first call with that overlay.
func (l *lab) mybr(overlay string) (string, error) {
	made, _ := l.mybrs.LoadOrStore(overlay, sync.OnceValues(func() (string, error) { return l.buildMybr(overlay) }))
	return made.(func() (string, error))()
}

// buildMybr builds what is tested; with MYBR_TEST_RACE=1, with the race detector;
// with MYBR_TEST_BINARY, takes a copy of that. With an overlay it builds just that.
func (l *lab) buildMybr(overlay string) (string, error) {
	path := filepath.Join(l.Dir, "mybr")
	if overlay != "" {
		path = filepath.Join(filepath.Dir(overlay), "mybr")
		return path, goBuild(path, "./cmd/mybr", "-overlay="+overlay)
	}
	if have := os.Getenv("MYBR_TEST_BINARY"); have != "" {
		program, err := os.ReadFile(have)
		if err != nil {
			return "", err
		}
		return path, os.WriteFile(path, program, 0o755)
	}
	var flags []string
	if os.Getenv("MYBR_TEST_RACE") == "1" {
		flags = []string{"-race", "-gcflags=go.etcd.io/bbolt=-d=checkptr=0"} // as the Makefile has it
	}
	return path, goBuild(path, "./cmd/mybr", flags...)
}

// goBuild builds a package of this module, statically unless the flags need cgo.
func goBuild(path, pkg string, flags ...string) error {
	module, err := moduleDir()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), pkg)...)
	cmd.Dir = module
	if !slices.Contains(flags, "-race") {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// moduleDir is the top of this module's checkout.
func moduleDir() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (l *lab) startJanitor() error {
	arg, err := json.Marshal(l)
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+roleJanitor, roleArg+"="+string(arg))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	if l.janitor, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the janitor: %w", err)
	}
	return nil
}

// newWorld names a world and makes its directory.
func (l *lab) newWorld() (name, dir string, err error) {
	n := l.worlds.Add(1)
	dir = filepath.Join(l.Dir, fmt.Sprintf("world-%d", n))
	return fmt.Sprintf("%s-%d", l.Name, n), dir, os.MkdirAll(dir, 0o755)
}
