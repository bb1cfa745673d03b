package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/world"
)

// suite is the Debian release of the machine, and packages what it has besides the base
// system: Docker 26.1, systemd 257, Linux 6.12.
const (
	suite    = "trixie"
	packages = "systemd-sysv,udev,dbus,linux-image-amd64,initramfs-tools,zstd,docker.io,docker-cli,iptables,iproute2,apparmor,ca-certificates"
)

// debian returns a Debian root directory with these packages, which is only to be read.
func debian(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	root, skip, err := world.Debian("vm", suite, packages)
	if err != nil {
		t.Fatal(err)
	}
	if skip != "" {
		t.Skip(skip)
	}
	return root
}

// checkout is the top of this module.
func checkout(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// newMachine makes a machine, turned off, whose disk has the package of this checkout
// installed. It is turned off and removed with the test.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skipf("make need-vm installs what this needs: %v", err)
	}
	base, deb := debian(t), makeDeb(t, "")
	top := checkout(t)
	if err := os.MkdirAll(filepath.Join(top, "build", "vm"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Not below /tmp, which may be in memory: the disk has a gigabyte.
	dir, err := os.MkdirTemp(filepath.Join(top, "build", "vm"), "machine-")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir}
	t.Cleanup(func() {
		if m.conn != nil && t.Failed() {
			m.show()
		}
		if m.qemu != nil && m.qemu.Process != nil {
			m.cut()
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for name, pkg := range map[string]string{"agent": "./integration/vm/agent", "guest": "./integration/guest"} {
		command(t, top, []string{"CGO_ENABLED=0"}, "go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, name), pkg)
	}
	privately(t, filepath.Join(top, "integration", "vm", "mkimage"), base, deb, dir)
	return m
}

// makeDeb makes mybr's package, with another version than its own unless that is "".
func makeDeb(t *testing.T, version string) (path string) {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skipf("make need-deb installs what this needs: %v", err)
	}
	var env []string
	if version != "" {
		env = []string{"DEB_VERSION=" + version}
	}
	top := checkout(t)
	command(t, top, nil, "make", "bin/mybr", "man")
	return command(t, top, env, "scripts/deb", t.TempDir())
}

// command runs a program that has to succeed and returns what it says.
func command(t *testing.T, dir string, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	for _, entry := range os.Environ() {
		// A make that runs the tests would hand its variables down.
		if name, _, _ := strings.Cut(entry, "="); !strings.HasPrefix(name, "MAKE") && name != "MFLAGS" {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	return finish(t, cmd)
}

// privately is command with a mount namespace of its own.
func privately(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS} // and what it mounts stays there
	return finish(t, cmd)
}

func finish(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(fmt.Errorf("%q: %w\n%s%s", cmd.Args, err, stdout.String(), stderr.String()))
	}
	return strings.TrimSpace(stdout.String())
}
