package world

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mybr/mybr/integration/report"
)

// Docker runs the docker client and gives its output without the last newline.
func (w *World) Docker(args ...string) string {
	w.t.Helper()
	return w.Host.Run(append([]string{"docker"}, args...)...)
}

// DockerTry runs a docker command that may fail.
func (w *World) DockerTry(args ...string) Result {
	w.t.Helper()
	return w.Host.Try(append([]string{"docker"}, args...)...)
}

// Network creates a network of the driver under test and gives its ID. Its addresses
// are Docker's to choose, or with MYBR_TEST_IPAM=mybr those of that IPAM driver.
func (w *World) Network(name string, args ...string) string {
	w.t.Helper()
	all := append([]string{"network", "create", "-d", w.Driver}, args...)
	if ipam := os.Getenv("MYBR_TEST_IPAM"); ipam != "" {
		all = append(all, "--ipam-driver", ipam)
	}
	return w.Docker(append(all, name)...)
}

// Idle runs a container that does nothing, with the given arguments of docker run.
func (w *World) Idle(name string, args ...string) *Place {
	w.t.Helper()
	w.Docker(append(append([]string{"run", "-d", "--name", name, "--hostname", name}, args...), Image, "sleep")...)
	return w.Container(name)
}

// Serve runs a container with servers (see "guest serve") and waits until they listen.
func (w *World) Serve(name string, args []string, servers ...string) *Place {
	w.t.Helper()
	all := append([]string{"run", "-d", "--name", name, "--hostname", name}, args...)
	w.Docker(append(append(all, Image, "serve"), servers...)...)
	w.Ready(name)
	return w.Container(name)
}

// Ready waits until a running container's servers listen.
func (w *World) Ready(name string) {
	w.t.Helper()
	cmd := w.container(name).Config.Cmd
	p := w.Container(name)
	w.Eventually(10*time.Second, func() error {
		for _, server := range cmd[1:] {
			network, _, _ := strings.Cut(server, ":")
			port, err := strconv.Atoi(server[strings.LastIndexByte(server, ':')+1:])
			if err != nil {
				return fatal{fmt.Errorf("container %s: server %s: %w", name, server, err)}
			}
			// The local address, the port in hex, ends the second column: proc_net(5).
			sockets := p.Run("cat", "/proc/net/"+network, "/proc/net/"+network+"6")
			if !strings.Contains(sockets, fmt.Sprintf(":%04X 0000", port)) {
				return fmt.Errorf("container %s does not listen at %s", name, server)
			}
		}
		return nil
	})
}

// Container is the network namespace of a running container, until it stops. It does
// not keep the namespace alive.
func (w *World) Container(name string) *Place {
	w.t.Helper()
	pid := w.container(name).State.Pid
	return &Place{Name: "container " + name, w: w, path: w.Path(fmt.Sprintf("/proc/%d/ns/net", pid))}
}

// containerInfo is a part of what the engine says of a container.
type containerInfo struct {
	State struct {
		Running bool
		Pid     int // 0: it doesn't run
	}
	Config struct{ Cmd []string }
}

func (w *World) container(name string) (info containerInfo) {
	w.t.Helper()
	if !w.API("/containers/"+name+"/json", &info) {
		w.t.Fatalf("there is no container %s", name)
	}
	return info
}

// Running tells whether there is such a container, and it runs.
func (w *World) Running(name string) bool {
	w.t.Helper()
	var info containerInfo
	return w.API("/containers/"+name+"/json", &info) && info.State.Running
}

// Addr is a container's IPv4 address on a network.
func (w *World) Addr(container, network string) string {
	w.t.Helper()
	return w.Docker("inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network), container)
}

// Proc is a command that goes on until it is stopped, or the world ends.
type Proc struct {
	w     *World
	what  string
	cmd   *exec.Cmd
	ended chan struct{}
	mu    sync.Mutex
	lines []string
}

// Start starts a command and returns once it has printed a first line.
func (p *Place) Start(argv ...string) *Proc {
	p.w.t.Helper()
	return p.startWithin(10*time.Second, argv...)
}

// startWithin is Start with a limit for the first line.
func (p *Place) startWithin(timeout time.Duration, argv ...string) *Proc {
	p.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.w.t.Cleanup(cancel)
	r := &Proc{w: p.w, what: p.Name + ": " + strings.Join(argv, " "), cmd: p.command(ctx, argv...), ended: make(chan struct{})}
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		r.cmd.Stderr = r.cmd.Stdout
		err = p.start(r.cmd)
	}
	if err != nil {
		p.w.t.Fatalf("%s: %v", r.what, err)
	}
	go func() {
		defer close(r.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.mu.Lock()
			r.lines = append(r.lines, s.Text())
			r.mu.Unlock()
		}
		r.cmd.Wait()
	}()
	p.w.Eventually(timeout, func() error {
		if len(r.Lines()) == 0 {
			return fmt.Errorf("%s: it says nothing", r.what)
		}
		return nil
	})
	return r
}

// Lines is what the command has printed so far.
func (r *Proc) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

// Running tells whether the command goes on.
func (r *Proc) Running() bool {
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// signal asks the command to end. It may have ended by itself.
func (r *Proc) signal() { r.cmd.Process.Signal(syscall.SIGTERM) }

// Stop ends the command with SIGTERM and gives its exit code and all it printed.
func (r *Proc) Stop() (code int, lines []string) {
	r.w.t.Helper()
	r.signal()
	select {
	case <-r.ended:
	case <-time.After(stopTimeout):
		r.w.t.Fatalf("%s: has not ended after SIGTERM", r.what)
	}
	return r.cmd.ProcessState.ExitCode(), r.Lines()
}

// Sniff watches a link for packets, until the returned function is called: that waits
// for a packet that matches, and fails the test if there is none within the timeout.
func (p *Place) Sniff(link string) *Sniffer {
	p.w.t.Helper()
	return &Sniffer{p.Start("guest", "sniff", link)}
}

// Sniffer is a watch over a link.
type Sniffer struct{ *Proc }

// Packets is what was seen so far.
func (s *Sniffer) Packets() []report.Packet {
	s.w.t.Helper()
	var out []report.Packet
	for _, line := range s.Lines()[1:] {
		var p report.Packet
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			s.w.t.Fatalf("%s: %q: %v", s.what, line, err)
		}
		out = append(out, p)
	}
	return out
}

// Want waits for a packet that matches and gives it.
func (s *Sniffer) Want(what string, match func(report.Packet) bool) (found report.Packet) {
	s.w.t.Helper()
	s.w.Eventually(3*time.Second, func() error {
		for _, p := range s.Packets() {
			if match(p) {
				found = p
				return nil
			}
		}
		return fmt.Errorf("%s: no %s among %+v", s.what, what, s.Packets())
	})
	return found
}
