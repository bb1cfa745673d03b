package world

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// ProxySocket is where `mybr docker-proxy` listens in a world.
const ProxySocket = "/run/mybr-docker-proxy/docker.sock"

// ProxyAll reports whether all docker commands of worlds with mybr go through `mybr
// docker-proxy`.
func ProxyAll() bool { return os.Getenv("MYBR_TEST_DOCKER_PROXY") == "1" }

// StartDockerProxy starts `mybr docker-proxy` with a socket that stays when it ends, and the
// privileges that its unit has. With Docker's own driver it has no mybr to ask, and passes
// everything on.
func (w *World) StartDockerProxy() { w.t.Helper(); w.must(w.startProxy()) }

// StopDockerProxy ends the proxy as its service would.
func (w *World) StopDockerProxy() { w.t.Helper(); w.must(w.proxy.stop(syscall.SIGTERM)) }

func (w *World) startProxy() error {
	path, err := w.lab.mybr(w.cfg.Overlay)
	if err != nil {
		return err
	}
	argv, role, err := confined(proxyConfinement, nil, path, "docker-proxy", "--docker", "unix:///run/docker.sock")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(w.Path(filepath.Dir(ProxySocket)), 0o755); err != nil {
		return err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: w.Path(ProxySocket)})
	if err != nil {
		return err
	}
	defer ln.Close()
	ln.SetUnlinkOnClose(false) // it goes with the world
	held, err := ln.File()
	if err != nil {
		return err
	}
	defer held.Close()
	argv, env, files := service{socket: held}.activation(argv)
	env = append(append(env, "LISTEN_FDNAMES=docker"), role...)
	if w.proxy, err = w.daemon("docker-proxy", env, files, argv...); err != nil {
		return err
	}
	return poll(startTimeout, func() error {
		if err := w.proxy.alive(); err != nil {
			return err
		}
		c, err := net.Dial("unix", w.Path(ProxySocket))
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// DockerSocket is where Docker's clients of the world connect to: the engine's socket, or
// the proxy's, if all go through it.
func (w *World) DockerSocket() string {
	if w.proxied {
		return ProxySocket
	}
	return "/run/docker.sock"
}

// proxyAll has all that asks Docker from now on go through the proxy, if that is wanted.
func (w *World) proxyAll() error {
	if !ProxyAll() || w.Driver != "mybr" {
		return nil
	}
	if err := w.startProxy(); err != nil {
		return err
	}
	w.proxied = true
	return nil
}

// ProxyPID is the proxy's process, as the test process sees it.
func (w *World) ProxyPID() int { return w.proxy.cmd.Process.Pid }

// ProxyLog is all that the proxy has logged.
func (w *World) ProxyLog() string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "docker-proxy.log"))
	w.must(err)
	return string(text)
}

// Proxied runs the docker client through the proxy.
func (w *World) Proxied(args ...string) string {
	w.t.Helper()
	return w.Host.Run(append([]string{"docker", "-H", "unix://" + ProxySocket}, args...)...)
}
