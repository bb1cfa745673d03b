package firewalld

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// bus is a message bus of the test's own.
type bus struct {
	address string
	cmd     *exec.Cmd
}

// startBus starts a bus at a socket of the given directory and waits until it listens.
func startBus(t *testing.T, dir string) *bus {
	t.Helper()
	b := &bus{address: "unix:path=" + filepath.Join(dir, "bus")}
	config := filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>%s</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`, b.address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.stop)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal("dbus-daemon says nothing:", err)
	}
	return b
}

// stop ends the bus; its socket stays, as after a crash.
func (b *bus) stop() {
	b.cmd.Process.Kill()
	b.cmd.Wait()
}

// fake is a firewalld that only remembers.
type fake struct {
	t    *testing.T
	conn *dbus.Conn

	mu         sync.Mutex
	calls      []string
	zones      []string            // firewalld goes by them
	policies   []string            // nil: it knows nothing of policies, as before 0.9
	configured map[string][]string // under "zone" and "policy"
	in         map[string]string   // interface → zone
	reloads    int
	failure    error // what every call about interfaces fails with
	noPolicy   bool  // no policy can be made
	hang       chan struct{}
}

// startFake puts a firewalld on the bus that has the zones public and trusted.
func startFake(t *testing.T, b *bus) *fake {
	t.Helper()
	f := &fake{t: t, zones: []string{"public", "trusted"}, policies: []string{"allow-host-ipv6"},
		configured: map[string][]string{"zone": {"public", "trusted"}, "policy": {"allow-host-ipv6"}}, in: map[string]string{}}
	var err error
	if f.conn, err = dbus.Connect(b.address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.conn.Close() })
	f.export(map[string]any{"reload": f.reload}, daemonPath, daemonName)
	f.export(map[string]any{
		"getZones": func() ([]string, *dbus.Error) { return f.list(&f.zones) }, "getZoneOfInterface": f.zoneOfInterface,
		"addInterface": f.addInterface, "removeInterface": f.removeInterface,
	}, daemonPath, zoneInterface)
	f.export(map[string]any{"getPolicies": f.getPolicies}, daemonPath, policyInterface)
	f.export(map[string]any{
		"getZoneNames":   func() ([]string, *dbus.Error) { return f.names("zone") },
		"getPolicyNames": func() ([]string, *dbus.Error) { return f.names("policy") },
		"addZone2":       func(n string, s map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) { return f.add("zone", n, s) },
		"addPolicy":      func(n string, s map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) { return f.add("policy", n, s) },
	}, configPath, configInterface)
	f.own()
	return f
}

func (f *fake) export(methods map[string]any, path dbus.ObjectPath, iface string) {
	f.t.Helper()
	if err := f.conn.ExportMethodTable(methods, path, iface); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) own() {
	f.t.Helper()
	if reply, err := f.conn.RequestName(daemonName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		f.t.Fatal(reply, err)
	}
}

func (f *fake) disown() {
	f.t.Helper()
	if _, err := f.conn.ReleaseName(daemonName); err != nil {
		f.t.Fatal(err)
	}
}

// enter begins a call: it writes it down, and waits if the fake hangs.
func (f *fake) enter(call string) func() {
	f.mu.Lock()
	if hang := f.hang; hang != nil {
		f.mu.Unlock()
		<-hang
		f.mu.Lock()
	}
	f.calls = append(f.calls, call)
	return f.mu.Unlock
}

// locked lets the test look at what the fake remembers, and change it.
func (f *fake) locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// inZones is a copy of what is in which zone.
func (f *fake) inZones() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.in)
}

// reloaded is how often it was told to reload.
func (f *fake) reloaded() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reloads
}

// knows reports whether it goes by a policy.
func (f *fake) knows(policy string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.policies, policy)
}

// took returns the calls since the last time.
func (f *fake) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func failure(code, about string) *dbus.Error {
	return dbus.NewError(daemonName+".Exception", []any{code + ": " + about})
}

func (f *fake) list(names *[]string) ([]string, *dbus.Error) {
	defer f.enter("list")()
	return slices.Clone(*names), nil
}

func (f *fake) getPolicies() ([]string, *dbus.Error) {
	defer f.enter("list")()
	if f.policies == nil {
		return nil, &dbus.ErrMsgUnknownMethod
	}
	return slices.Clone(f.policies), nil
}

func (f *fake) names(kind string) ([]string, *dbus.Error) {
	defer f.enter("names")()
	return slices.Clone(f.configured[kind]), nil
}

func (f *fake) add(kind, name string, settings map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	defer f.enter(fmt.Sprintln("add", kind, name, settings["target"].Value(), settings["ingress_zones"].Value(), settings["egress_zones"].Value()))()
	if f.noPolicy && kind == "policy" {
		return "/", failure("INVALID_POLICY", name)
	}
	if slices.Contains(f.configured[kind], name) {
		return "/", failure("NAME_CONFLICT", "new_zone(): '"+name+"'")
	}
	f.configured[kind] = append(f.configured[kind], name)
	return "/zone", nil
}

// reload takes what is configured, keeps what is in zones, and says so.
func (f *fake) reload() *dbus.Error {
	defer f.enter("reload")()
	f.reloads++
	f.zones, f.policies = slices.Clone(f.configured["zone"]), slices.Clone(f.configured["policy"])
	f.conn.Emit(daemonPath, reloaded)
	return nil
}

func (f *fake) zoneOfInterface(name string) (string, *dbus.Error) {
	defer f.enter("zone of " + name)()
	if f.failure != nil {
		return "", failure(f.failure.Error(), name)
	}
	return f.in[name], nil
}

func (f *fake) addInterface(zone, name string) (string, *dbus.Error) {
	defer f.enter("add " + name)()
	switch in := f.in[name]; {
	case !slices.Contains(f.zones, zone):
		return "", failure("INVALID_ZONE", zone)
	case in == zone:
		return "", failure("ZONE_ALREADY_SET", name)
	case in != "":
		return "", failure("ZONE_CONFLICT", "'"+name+"' already bound to '"+in+"'")
	}
	f.in[name] = zone
	return zone, nil
}

func (f *fake) removeInterface(zone, name string) (string, *dbus.Error) {
	defer f.enter("remove " + name)()
	if f.in[name] != zone {
		return "", failure("UNKNOWN_INTERFACE", "'"+name+"' is not in any zone")
	}
	delete(f.in, name)
	return zone, nil
}

// eventually waits until f says nothing more is missing.
func eventually(t *testing.T, missing func() string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for missing() != "" {
		if time.Now().After(deadline) {
			t.Fatal(missing())
		}
		time.Sleep(5 * time.Millisecond)
	}
}
