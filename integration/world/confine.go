package world

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/moby/sys/capability"

	"github.com/mybr/mybr/integration/unit"
)

// confinement is what a systemd unit leaves to its process of root's privileges.
type confinement struct {
	Capabilities []capability.Cap
	Syscalls     []string // by the names of this architecture
	Families     []int    // of sockets
}

// The confinements of mybr's two processes, read from the unit files once.
var (
	serveConfinement = sync.OnceValues(func() (confinement, error) { return unitConfinement("mybr.service") })
	proxyConfinement = sync.OnceValues(func() (confinement, error) { return unitConfinement("mybr-docker-proxy.service") })
)

// unitConfinement reads the confinement from a unit file.
func unitConfinement(name string) (c confinement, err error) {
	module, err := moduleDir()
	if err != nil {
		return c, err
	}
	u, err := unit.Read(filepath.Join(module, "contrib", "systemd", name))
	if err != nil {
		return c, err
	}
	if c.Capabilities, err = u.Capabilities(); err != nil {
		return c, err
	}
	if c.Families, err = u.Families(); err != nil {
		return c, err
	}
	if c.Syscalls, err = u.Syscalls(); err != nil {
		return c, err
	}
	here, err := arch.GetInfo("")
	if err != nil {
		return c, err
	}
	c.Syscalls = slices.DeleteFunc(c.Syscalls, func(name string) bool { _, known := here.SyscallNames[name]; return !known })
	return c, nil
}

// confined returns a command line and an environment with which a command is confined as
// a unit confines it, without the capabilities in drop.
func confined(by func() (confinement, error), drop []capability.Cap, argv ...string) (command, env []string, err error) {
	c, err := by()
	if err != nil {
		return nil, nil, err
	}
	c.Capabilities = slices.DeleteFunc(slices.Clone(c.Capabilities), func(have capability.Cap) bool { return slices.Contains(drop, have) })
	arg, err := json.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	return append([]string{self}, argv...), []string{roleEnv + "=" + roleConfined, roleArg + "=" + string(arg)}, nil
}

// confinedRole gives up all privileges that are not in arg and becomes the command.
func confinedRole(arg string, argv []string) error {
	var c confinement
	if err := json.Unmarshal([]byte(arg), &c); err != nil {
		return err
	}
	for _, name := range []string{roleEnv, roleArg} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	runtime.LockOSThread() // privileges are a thread's, and exec(2) keeps those of its caller
	if err := c.dropCapabilities(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := seccomp.LoadFilter(c.filter()); err != nil {
		return fmt.Errorf("load a seccomp filter: %w", err)
	}
	return fmt.Errorf("exec %s: %w", argv[0], syscall.Exec(argv[0], argv, os.Environ()))
}

// dropCapabilities reduces the bounding set; the others follow at exec(2).
func (c confinement) dropCapabilities() error {
	all, err := capability.ListSupported()
	if err != nil {
		return err
	}
	caps, err := capability.NewPid2(0)
	if err != nil {
		return err
	}
	if err := caps.Load(); err != nil {
		return err
	}
	for _, one := range all {
		if !slices.Contains(c.Capabilities, one) {
			caps.Unset(capability.BOUNDS, one)
		}
	}
	caps.Clear(capability.INHERITABLE | capability.AMBIENT)
	return caps.Apply(capability.BOUNDS | capability.CAPS | capability.AMBS)
}

// filter ends a process that makes another system call, which a test can't miss, where the
// unit's answers EPERM.
func (c confinement) filter() seccomp.Filter {
	var sockets []seccomp.NameWithConditions
	for _, family := range c.Families {
		sockets = append(sockets, seccomp.NameWithConditions{Name: "socket", Conditions: seccomp.ArgumentConditions{
			{Argument: 0, Operation: seccomp.Equal, Value: uint64(family)},
		}})
	}
	return seccomp.Filter{NoNewPrivs: true, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionKillProcess,
		Syscalls: []seccomp.SyscallGroup{{
			Action:             seccomp.ActionAllow,
			Names:              slices.DeleteFunc(slices.Clone(c.Syscalls), func(name string) bool { return name == "socket" }),
			NamesWithCondtions: sockets,
		}},
	}}
}
