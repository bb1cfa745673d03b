package world

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// An engine other than the machine's own comes with the Debian release that has it: a
// root directory below build/engines, made once by debootstrap(8) and only read from
// then on. A world of that engine lives in it, with the release's own iptables and iproute2;
// only mybr and the guest program are the machine's builds.

// suites has the releases of the engines that can be asked for.
var suites = map[string]string{
	"26.1": "trixie",
	"28.5": "sid",
}

// packages is what a world needs besides the base system. docker.io only recommends
// apparmor and ca-certificates. docker-compose is Compose 2 there.
const packages = "docker.io,docker-cli,docker-compose,iptables,nftables,iproute2,conntrack,apparmor,ca-certificates"

// debian is one engine's root directory.
type debian struct {
	root string
	skip string // why it can't be had here
	err  error
}

// engine makes the root directory of an engine at its first call in this process.
func (l *lab) engine(version string) debian {
	if version == "" {
		return debian{}
	}
	made, _ := l.engines.LoadOrStore(version, sync.OnceValue(func() debian { return makeDebian(version) }))
	return made.(func() debian)()
}

// makeDebian makes the root directory of an engine.
func makeDebian(version string) (d debian) {
	suite, ok := suites[version]
	if !ok {
		d.err = fmt.Errorf("no engine %q: there are %v, and the machine's own", version, suites)
		return d
	}
	d.root, d.skip, d.err = Debian(version, suite, packages, func(root string) error {
		have, err := privately(root, "/usr/sbin/dockerd", "--version")
		if err != nil || !strings.HasPrefix(have, "Docker version "+version+".") {
			return fmt.Errorf("want an engine %s of Debian %s, have: %s %w", version, suite, have, err)
		}
		return nil
	})
	return d
}

// Debian makes build/engines/NAME, a root directory of a Debian suite with packages (with
// commas between), and checks it, unless an earlier test process did. It is only read from
// then on. Other processes that want the same wait. skip says why it can't be had here.
func Debian(name, suite, packages string, checks ...func(root string) error) (root, skip string, err error) {
	return debianWith(name, suite, packages, "", checks...)
}

// debianWith is Debian with more packages (with spaces between), which apt installs:
// debootstrap can't choose among those that provide what others depend on.
func debianWith(name, suite, packages, more string, checks ...func(root string) error) (root, skip string, err error) {
	module, err := moduleDir()
	if err != nil {
		return "", "", err
	}
	dir := filepath.Join(module, "build", "engines")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", err
	}
	if err := ownModule(dir); err != nil {
		return "", "", err
	}
	root = filepath.Join(dir, name)
	unlock, err := lockFile(root + ".lock")
	if err != nil {
		return "", "", err
	}
	defer unlock()
	stamp, want := root+".stamp", strings.TrimSpace(suite+" "+packages+" "+more)+"\n"
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return root, "", nil
	}
	tool, err := lookPath("debootstrap", "", "/")
	if err != nil {
		return "", fmt.Sprintf("%s comes from Debian %s: %v", name, suite, err), nil
	}
	fresh := root + ".new"
	if err := errors.Join(os.Remove(stamp), os.RemoveAll(root), os.RemoveAll(fresh)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	if out, err := privately("", tool, "--variant=minbase", "--include="+packages, suite, fresh); err != nil {
		return "", "", fmt.Errorf("debootstrap %s: %w\n%s", suite, err, out)
	}
	if more != "" {
		script := "apt-get -y -qq install --no-install-recommends " + more + " && apt-get clean"
		if out, err := privately(fresh, "/bin/sh", "-ec", script); err != nil {
			return "", "", fmt.Errorf("install %s: %w\n%s", more, err, out)
		}
	}
	for _, check := range checks {
		if err := check(fresh); err != nil {
			return "", "", err
		}
	}
	return root, "", errors.Join(os.Rename(fresh, root), os.WriteFile(stamp, []byte(want), 0o644))
}

// ownModule has the go command pass over a directory when it looks for this module's packages: a
// Debian can have Go's own.
func ownModule(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "go.mod"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("module engines\n")
	return errors.Join(err, f.Close())
}

// privately runs a command with a mount namespace of its own, so that what it mounts
// goes with it, and in a root directory if one is given. It ends with this process.
func privately(root string, argv ...string) (string, error) {
	runtime.LockOSThread() // see dieWithParent
	defer runtime.UnlockOSThread()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PATH="+systemPath, "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Chroot: root, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if lines := strings.Split(text, "\n"); len(lines) > logLines {
		text = strings.Join(lines[len(lines)-logLines:], "\n")
	}
	return text, err
}

// lockFile waits for a lock that no process keeps longer than it lives (flock(2)).
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// enterDebian makes an engine's root directory the root of this mount namespace, as process
// 1 of a world: with the machine's devices and temporary files, and changes kept in
// dir.
func enterDebian(root, dir string) error {
	top := filepath.Join(dir, "root")
	upper, work := top+".upper", top+".work"
	for _, d := range []string{top, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", root, upper, work)
	if err := unix.Mount("overlay", top, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	for _, d := range []string{"/dev", os.TempDir()} {
		at := filepath.Join(top, d)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(d, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	if err := os.Chdir(top); err != nil {
		return err
	}
	// The old root lands on top of the new one: pivot_root(2), NOTES.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the machine's root: %w", err)
	}
	return os.Chdir("/")
}
