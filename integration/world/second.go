package world

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
)

// SecondDocker is another engine on a world's host, with files, socket and containers of its
// own, and without a docker0.
type SecondDocker struct {
	w      *World
	daemon *daemon
}

const secondSocket = "/run/second.sock"

// SecondDocker starts another engine and gives it the guest's image.
func (w *World) SecondDocker() *SecondDocker {
	w.t.Helper()
	s := &SecondDocker{w: w}
	s.Start()
	w.Host.Run("sh", "-c", "docker save "+Image+" | docker -H unix://"+secondSocket+" load")
	return s
}

// Start starts it, and again after Stop or Kill.
func (s *SecondDocker) Start() {
	s.w.t.Helper()
	var err error
	s.daemon, err = s.w.daemon("dockerd-second", nil, nil, "dockerd",
		"--data-root", filepath.Join(s.w.dir, "docker-second"), "--exec-root", "/run/second", "--pidfile", "/run/second.pid",
		"--host", "unix://"+secondSocket, "--bridge", "none",
		"--storage-driver", "overlay2", "--cgroup-parent", "/"+s.w.name, "--log-level", "warn")
	s.w.must(err)
	s.w.Eventually(startTimeout, func() error {
		if err := s.daemon.alive(); err != nil {
			return err
		}
		c, err := net.Dial("unix", s.w.Path(secondSocket))
		if err != nil {
			return err
		}
		return c.Close()
	})
	s.Docker("version")
}

// Stop ends it as its service would; Kill with SIGKILL.
func (s *SecondDocker) Stop() { s.w.t.Helper(); s.w.must(s.daemon.stop(syscall.SIGTERM)) }

// Kill ends it with SIGKILL.
func (s *SecondDocker) Kill() { s.w.t.Helper(); s.w.must(s.daemon.stop(syscall.SIGKILL)) }

// Docker runs the docker client with this engine and gives its output without the last newline.
func (s *SecondDocker) Docker(args ...string) string {
	s.w.t.Helper()
	return s.w.Host.Run(s.command(args)...)
}

// DockerTry runs a docker command that may fail.
func (s *SecondDocker) DockerTry(args ...string) Result {
	s.w.t.Helper()
	return s.w.Host.Try(s.command(args)...)
}

func (s *SecondDocker) command(args []string) []string {
	return append([]string{"docker", "-H", "unix://" + secondSocket}, args...)
}

// Container is the network namespace of a running container, until it stops.
func (s *SecondDocker) Container(name string) *Place {
	s.w.t.Helper()
	pid := strings.TrimSpace(s.Docker("inspect", "-f", "{{.State.Pid}}", name))
	return &Place{Name: "container " + name + " of the second engine", w: s.w, path: s.w.Path("/proc/" + pid + "/ns/net")}
}
