package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/view"
)

// Process is what a running mybr says of itself.
type Process struct {
	Version     string
	PID         int
	Ready       bool   // the first pass has ended
	Firewall    string // "nftables", or the variant of iptables in use, such as "iptables-nft"; "": none yet
	LastError   string // of the last pass; "": it went well
	FailedFor   time.Duration
	Differences []string // what the host has otherwise than is recorded: the changes that would mend it
	Unknown     string   // why not all could be compared
	Unwatched   string   // why changes by others are noticed late; "": they are noticed at once
	Unheard     string   // why what egress lists refuse is not heard of; "": it is, or there are none
	Unchecked   string   // why --spoof does nothing although it asks for something; "": it does what it says
	// UncheckedAsked: the user has given that --spoof, which is no default then.
	UncheckedAsked bool
	Healed         []Healing
}

// Healing is what was put right of one aspect that others had changed.
type Healing struct {
	Aspect string
	Times  int
	Last   time.Time
	By     string // the program that was last seen to have changed it; "": not known
	Fights bool   // it is changed again and again
}

// Holder is who holds mybr's lock.
type Holder struct {
	Held bool
	PID  int  // 0: it is of another PID namespace
	Root bool // only root's can be mybr, and any user can take the lock
}

// Zones is what firewalld says of links.
type Zones struct {
	Running bool
	Of      map[string]string // by link: its zone; "": none
}

// Env is how the checks reach what they look at. Now and Run are needed, and the folders;
// what is nil can't be asked.
type Env struct {
	Root    string // in front of /proc, /etc, /run and the like; "": the host's own
	Sysctls string // /proc/sys, or where that is mounted

	Version   string // of the mybr that looks
	Name      string // of the plugin
	PluginDir string // where Docker looks for <PluginDir>/<Name>.sock
	StateDir  string // of the records
	RunDir    string // of the admin socket and the copy of the records

	Now func() time.Time
	// Run runs a program and returns what it wrote to its standard output.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Process asks the running mybr how it is, View what it knows. The error says why it does
	// not answer.
	Process func(ctx context.Context) (Process, error)
	View    func(ctx context.Context) (view.View, error)
	// Lock says who holds mybr's lock in this network namespace.
	Lock func(ctx context.Context) (Holder, error)
	// Plugin asks a plugin's socket what it implements.
	Plugin func(ctx context.Context, socket string) ([]string, error)
	// Zones asks firewalld for the zones of links.
	Zones func(ctx context.Context, links []string) (Zones, error)
	// Paths reads what the paths of packets to some endpoints are predicted from.
	Paths func(v view.View, endpoints map[string]bool) (Paths, error)
	// Docker gets a path of the Docker API, such as "/info".
	Docker func(ctx context.Context, path string) ([]byte, error)
	// DockerHost is what a command needs as --docker to ask the same Docker; empty: nothing.
	DockerHost string
}

// commandWithin bounds one command, maxOutput what is read of it.
const (
	commandWithin = 10 * time.Second
	maxOutput     = 64 << 20
)

// Exec runs a program of the host, for Env.Run.
func Exec(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandWithin)
	defer cancel()
	out, errs := &capped{most: maxOutput}, &capped{most: 4 << 10}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, args...), " "), err, strings.TrimSpace(errs.String()))
	}
	if out.full {
		return "", fmt.Errorf("%s: more than %d bytes of output", name, maxOutput)
	}
	return out.String(), nil
}

// capped keeps the first bytes that are written to it.
type capped struct {
	bytes.Buffer
	most int
	full bool
}

func (c *capped) Write(p []byte) (int, error) {
	room := c.most - c.Len()
	if room < len(p) {
		c.full = true
		c.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return c.Buffer.Write(p)
}

// path is where a file of the host is found.
func (e Env) path(p string) string { return filepath.Join(e.Root, p) }

// read reads a small file of the host.
func (e Env) read(p string) (string, error) {
	text, err := os.ReadFile(e.path(p))
	return strings.TrimSpace(string(text)), err
}

// setting reads a sysctl, such as "net/ipv4/ip_forward". ok is false where the kernel has none
// of that name.
func (e Env) setting(name string) (value string, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(e.Sysctls, name))
	if errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	}
	return strings.TrimSpace(string(text)), err == nil, err
}

// dotted is how a sysctl is written; with slashes where a link's name has a dot in it (sysctl(8)).
func dotted(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return strings.ReplaceAll(name, "/", ".")
}

// set is the command that gives a sysctl a value.
func set(name, value string) []string { return command("sysctl", "-w", dotted(name)+"="+value) }
