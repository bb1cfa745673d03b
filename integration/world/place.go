package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Place is a network namespace to stand in: the host's, a LAN host's, a container's.
// Commands run there see the world's host's files and processes.
type Place struct {
	Name   string
	w      *World
	netns  *os.File        // not of a container: an open file would keep its namespace alive
	handle *netlink.Handle // not of a container
	path   string          // of a container: where its namespace is found while it runs
}

// enter calls f with the namespace's file, which is f's only until it returns.
func (p *Place) enter(f func(*os.File) error) error {
	if p.netns != nil {
		return f(p.netns)
	}
	ns, err := os.Open(p.path)
	if err != nil {
		return fmt.Errorf("%s has stopped: %w", p.Name, err)
	}
	defer ns.Close()
	return f(ns)
}

// start starts a command there.
func (p *Place) start(cmd *exec.Cmd) error {
	return p.enter(func(ns *os.File) error { return p.w.boot.start(cmd, ns) })
}

// Result is how a command ended.
type Result struct {
	Out, Err string
	Code     int // exit code; -1: ended by a signal, or took longer than commandTimeout
}

// commandTimeout is how long one command may take.
const commandTimeout = 90 * time.Second

// Run runs a command and gives its output without the last newline. If it fails, so
// does the test. The command "guest" is the guest program, and "mybr" the one that is tested.
func (p *Place) Run(argv ...string) string {
	p.w.t.Helper()
	r := p.Try(argv...)
	if r.Code != 0 {
		p.w.t.Fatalf("%s: %s: exit code %d\n%s%s", p.Name, strings.Join(argv, " "), r.Code, r.Out, r.Err)
	}
	return strings.TrimRight(r.Out, "\n")
}

// Try runs a command that may fail.
func (p *Place) Try(argv ...string) Result {
	p.w.t.Helper()
	return p.run(nil, argv...)
}

// Feed runs a command with this as its input.
func (p *Place) Feed(input string, argv ...string) error {
	p.w.t.Helper()
	if r := p.run(strings.NewReader(input), argv...); r.Code != 0 {
		return fmt.Errorf("%s: %s: exit code %d\n%s%s", p.Name, strings.Join(argv, " "), r.Code, r.Out, r.Err)
	}
	return nil
}

func (p *Place) run(stdin io.Reader, argv ...string) Result {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := p.command(ctx, argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	cmd.WaitDelay = time.Second
	if err := p.start(cmd); err != nil {
		p.w.t.Fatalf("%s: %s: %v", p.Name, strings.Join(argv, " "), err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(&errs, err)
	}
	return Result{Out: out.String(), Err: errs.String(), Code: cmd.ProcessState.ExitCode()}
}

func (p *Place) command(ctx context.Context, argv ...string) *exec.Cmd {
	p.w.t.Helper()
	path, err := p.w.lookPath(argv[0])
	if err != nil {
		p.w.t.Fatalf("%v", err)
	}
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Env = append(p.w.env(), "DOCKER_HOST=unix://"+p.w.DockerSocket())
	if argv[0] == "docker" {
		// A third of what its start takes is the collection of garbage, and there are thousands
		// of starts. The limit is for those that follow something.
		cmd.Env = append(cmd.Env, "GOGC=off", "GOMEMLIMIT=256MiB")
	}
	return cmd
}

// Outcome is how a request fared.
type Outcome struct {
	Code   int           // of package report: Answered, Refused, …
	Answer report.Answer // of Get
	Pong   report.Pong   // of Ping: the last reply
	Err    string
}

func (o Outcome) String() string {
	words := map[int]string{report.Answered: "answered", report.Refused: "refused",
		report.TimedOut: "timed out", report.Unreachable: "unreachable"}
	word, ok := words[o.Code]
	if !ok {
		word = fmt.Sprintf("exit code %d", o.Code)
	}
	if o.Code == report.Answered && o.Answer.Client.IsValid() {
		return fmt.Sprintf("%s by %s at %v, client seen as %v", word, o.Answer.Name, o.Answer.Server, o.Answer.Client)
	}
	return strings.TrimSpace(word + " " + o.Err)
}

// Get asks a server of the guest's. Flags are those of "guest get".
func (p *Place) Get(network, addr string, flags ...string) (o Outcome) {
	p.w.t.Helper()
	p.ask(&o, &o.Answer, append(append([]string{"guest", "get"}, flags...), network, addr))
	return o
}

// Ping sends an echo request. Flags are those of "guest ping".
func (p *Place) Ping(addr string, flags ...string) (o Outcome) {
	p.w.t.Helper()
	p.ask(&o, &o.Pong, append(append([]string{"guest", "ping"}, flags...), addr))
	return o
}

func (p *Place) ask(o *Outcome, into any, argv []string) {
	p.w.t.Helper()
	r := p.Try(argv...)
	o.Code, o.Err = r.Code, strings.TrimSpace(r.Err)
	lines := strings.Split(strings.TrimSpace(r.Out), "\n")
	if last := lines[len(lines)-1]; r.Code == 0 {
		if err := json.Unmarshal([]byte(last), into); err != nil {
			p.w.t.Fatalf("%s: %s: %q: %v", p.Name, strings.Join(argv, " "), last, err)
		}
	}
}

// Probe asks many questions at once, in one command, and gives an outcome for each.
func (p *Place) Probe(probes ...report.Probe) []report.Outcome {
	p.w.t.Helper()
	asked, err := json.Marshal(probes)
	if err != nil {
		p.w.t.Fatalf("%s: %v", p.Name, err)
	}
	out := make([]report.Outcome, len(probes))
	lines := strings.Split(p.Run("guest", "probe", string(asked)), "\n")
	for i := range out {
		if err := json.Unmarshal([]byte(lines[i]), &out[i]); err != nil {
			p.w.t.Fatalf("%s: probe %s: %q: %v", p.Name, probes[i].To, lines[i], err)
		}
	}
	return out
}

// Sysctls reads settings, named as below /proc/sys; those that are not there are left
// out.
func (p *Place) Sysctls(paths ...string) map[string]string {
	p.w.t.Helper()
	found := map[string]string{}
	err := p.enter(func(ns *os.File) error {
		return onThread(func() error {
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			for _, path := range paths {
				// Files below /proc/sys/net are of the namespace of the thread that opens them.
				if value, err := os.ReadFile("/proc/sys/" + path); err == nil {
					found[path] = strings.TrimSpace(string(value))
				}
			}
			return nil
		})
	})
	if err != nil {
		p.w.t.Fatalf("%s: %v", p.Name, err)
	}
	return found
}

// Addrs is every address of the namespace.
func (p *Place) Addrs() []report.Address { p.w.t.Helper(); return facts(p, report.Addrs) }

// Links is the namespace's links with their addresses.
func (p *Place) Links() []report.Link { p.w.t.Helper(); return facts(p, report.Links) }

// Routes is the namespace's main routing table.
func (p *Place) Routes() []report.Route { p.w.t.Helper(); return facts(p, report.Routes) }

// Neighs is the namespace's neighbour table.
func (p *Place) Neighs() []report.Neigh { p.w.t.Helper(); return facts(p, report.Neighs) }

func facts[V any](p *Place, list func(*netlink.Handle) ([]V, error)) []V {
	p.w.t.Helper()
	// A dump that a change interrupts is asked for again (netlink(7), NLM_F_DUMP_INTR).
	var found []V
	err := poll(time.Second, func() error {
		return p.enter(func(ns *os.File) error {
			h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
			if err != nil {
				return err
			}
			defer h.Close()
			found, err = list(h)
			return err
		})
	})
	if err != nil {
		p.w.t.Fatalf("%s: %v", p.Name, err)
	}
	return found
}

// Link is the link of that name, or none.
func (p *Place) Link(name string) (report.Link, bool) {
	p.w.t.Helper()
	for _, l := range p.Links() {
		if l.Name == name {
			return l, true
		}
	}
	return report.Link{}, false
}

// Handle is for changes to the links, addresses and routes of the host or of a LAN
// host.
func (p *Place) Handle() *netlink.Handle { return p.handle }

// Sysctl writes a setting, named as below /proc/sys.
func (p *Place) Sysctl(path, value string) {
	p.w.t.Helper()
	p.Run("guest", "sysctl", strings.NewReplacer(".", "/", "/", ".").Replace(path)+"="+value)
}
