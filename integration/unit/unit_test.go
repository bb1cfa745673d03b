package unit

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const service = "../../contrib/systemd/mybr.service"

func read(t *testing.T) *Unit {
	t.Helper()
	u, err := Read(service)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// The managed plugin has what Docker gives to any container, and asks for no capability that
// the unit does not leave to the service.
func TestPluginAsksForNoMore(t *testing.T) {
	caps, err := read(t).Capabilities()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../plugin/config.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Linux map[string]any `json:"linux"`
		IPC   bool           `json:"ipchost"`
		PID   bool           `json:"pidhost"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	asked, _ := config.Linux["capabilities"].([]any)
	if len(asked) == 0 {
		t.Fatalf("the plugin asks for %v", config.Linux)
	}
	var names []string
	for _, c := range caps {
		names = append(names, "CAP_"+strings.ToUpper(c.String()))
	}
	for _, c := range asked {
		if !slices.Contains(names, c.(string)) {
			t.Errorf("the plugin asks for %v, the service has %v", c, names)
		}
	}
	if len(config.Linux) > 1 || config.IPC || config.PID {
		t.Errorf("the plugin asks for more than capabilities: %s", text)
	}
}

// A word that is not understood is an error, not a hole in what tests take away.
func TestUnknownWords(t *testing.T) {
	for setting, ask := range map[string]func(*Unit) error{
		"CapabilityBoundingSet=CAP_NET_ADMIN ~CAP_X": func(u *Unit) error { _, err := u.Capabilities(); return err },
		"CapabilityBoundingSe=":                      func(u *Unit) error { _, err := u.Capabilities(); return err },
		"RestrictAddressFamilies=AF_X25":             func(u *Unit) error { _, err := u.Families(); return err },
		"SystemCallFilter=@nothing":                  func(u *Unit) error { _, err := u.Syscalls(); return err },
	} {
		path := filepath.Join(t.TempDir(), "unit")
		if err := os.WriteFile(path, []byte("[Service]\n"+setting+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		u, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := ask(u); err == nil || !strings.Contains(err.Error(), strings.SplitN(setting, "=", 2)[0]) {
			t.Errorf("%s: error %v", setting, err)
		}
	}
}

// The system calls with which root changes a host, or a process another one, are not among
// those that are allowed.
func TestSyscalls(t *testing.T) {
	allowed, err := read(t).Syscalls()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"read", "openat", "execve", "socket", "bind", "pipe2", "prlimit64", "flock", "splice", "futex"} {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s is not allowed", name)
		}
	}
	for _, name := range []string{"mount", "setns", "unshare", "ptrace", "bpf", "chown", "setuid", "init_module", "finit_module",
		"process_vm_writev", "keyctl", "userfaultfd", "io_uring_setup", "reboot", "clock_settime", "open_by_handle_at", "chroot"} {
		if slices.Contains(allowed, name) {
			t.Errorf("%s is allowed", name)
		}
	}
}

// TestExposure has systemd judge the unit. What is left is what mybr is for: root, the
// network, CAP_NET_ADMIN and sockets; and the directory of the host, in which iptables is.
func TestExposure(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", service).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var left []string
	for _, m := range regexp.MustCompile(`(?m)^✗ (\S+)`).FindAllSubmatch(out, -1) {
		left = append(left, string(m[1]))
	}
	want := []string{
		"RootDirectory=/RootImage=", "User=/DynamicUser=", "PrivateUsers=", "PrivateNetwork=", "IPAddressDeny=",
		"CapabilityBoundingSet=~CAP_NET_ADMIN", "CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)",
		"RestrictAddressFamilies=~AF_PACKET", "RestrictAddressFamilies=~AF_NETLINK", "RestrictAddressFamilies=~AF_UNIX", "RestrictAddressFamilies=~AF_(INET|INET6)",
		"PrivateMounts=", // ProtectSystem and others give it a mount namespace of its own
		"ProcSubset=",    // /proc/sys/net
		"DeviceAllow=",   // char-rtc, read only: it is ProtectClock that adds it
	}
	for _, l := range left {
		if !slices.Contains(want, l) {
			t.Errorf("%s is open:\n%s", l, out)
		}
	}
}
