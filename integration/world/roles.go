package world

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The environment that makes a test binary a helper.
const (
	roleEnv = "MYBR_WORLD_ROLE"
	roleArg = "MYBR_WORLD_ARG"
	// Of process 1: the root directory of its engine; "" is the machine's.
	roleRoot = "MYBR_WORLD_ROOT"

	roleInit     = "init"
	roleJanitor  = "janitor"
	roleConfined = "confined"
)

// Main is the first call in TestMain: in a helper process it does the helper's work
// and does not return.
func Main() {
	var err error
	switch os.Getenv(roleEnv) {
	case "":
		return
	case roleInit:
		err = initRole(os.Getenv(roleArg), os.Getenv(roleRoot))
	case roleJanitor:
		err = janitorRole(os.Getenv(roleArg))
	case roleConfined:
		err = confinedRole(os.Getenv(roleArg), os.Args[1:])
	default:
		err = fmt.Errorf("unknown role %q", os.Getenv(roleEnv))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// initRole is process 1 of a world: it prepares the mounts, says "ready", reaps
// orphans, and ends, and with it its PID namespace, when its stdin does.
func initRole(dir, root string) error {
	if err := mounts(dir, root); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("world")); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for range children {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}

// mounts gives the world a /proc of its PID namespace, a /sys of its network
// namespace (with the machine's control groups), an empty /run, an /etc of which
// changes are private, and the boot ID in dir; with the root directory of an engine, all
// that in there.
func mounts(dir, root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	groups, err := unix.OpenTree(unix.AT_FDCWD, cgroupRoot, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("open %s: %w", cgroupRoot, err)
	}
	if root != "" {
		if err := enterDebian(root, dir); err != nil {
			return err
		}
	}
	etc := filepath.Join(dir, "etc")
	for _, d := range []string{etc, filepath.Join(dir, "etc.work")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		what, at, kind string
		flags          uintptr
		data           string
	}{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
		{"overlay", "/etc", "overlay", 0, fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s.work", etc, etc)},
		{filepath.Join(dir, "boot_id"), "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""},
	} {
		if err := unix.Mount(m.what, m.at, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if err := unix.MoveMount(groups, "", unix.AT_FDCWD, cgroupRoot, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s: %w", cgroupRoot, err)
	}
	// A name server that is no use keeps name lookups from leaving the world.
	if err := os.Remove("/etc/resolv.conf"); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile("/etc/resolv.conf", []byte("nameserver "+LANAddr+"\noptions timeout:1 attempts:1\n"), 0o644)
}

// janitorRole waits for the test process to end and removes what it left.
func janitorRole(arg string) error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	var l lab
	if err := json.Unmarshal([]byte(arg), &l); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin)
	var err error
	for range 100 {
		if err = sweepWorld(l.Name, l.Dir); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// dieWithParent is for helpers: SIGKILL when the thread that starts them ends, which
// is why it must be locked until they have ended (prctl(2), PR_SET_PDEATHSIG).
func dieWithParent(flags uintptr) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
}
