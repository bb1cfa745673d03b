package world

import (
	"errors"
	"net"
	"os"
	"path/filepath"
)

// service is how mybr is started besides its flags.
type service struct {
	program string   // "": the lab's build
	socket  *os.File // that systemd would hold; nil: mybr makes its own
}

// pluginSocket is where Docker looks for mybr.
const pluginSocket = "/run/docker/plugins/mybr.sock"

// InstallMybr builds mybr once more, with flags of go build, and puts it where StartMybr finds
// it from then on, as an upgrade in place does: what runs goes on.
func (w *World) InstallMybr(flags ...string) {
	w.t.Helper()
	path := filepath.Join(w.dir, "installed-mybr")
	w.must(goBuild(path+".new", "./cmd/mybr", flags...))
	w.must(os.Rename(path+".new", path))
	w.service.program = path
}

// HoldSocket ends mybr and starts it again with a plugin socket that stays when it ends, as
// with the systemd unit mybr.socket: calls wait in it.
func (w *World) HoldSocket() {
	w.t.Helper()
	w.StopMybr()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: w.Path(pluginSocket)})
	w.must(err)
	ln.SetUnlinkOnClose(false) // it goes with the world
	w.service.socket, err = ln.File()
	w.must(err)
	w.must(ln.Close())
	w.t.Cleanup(func() { w.service.socket.Close() })
	w.StartMybr()
}

// activation returns what makes a command line of mybr's take the held socket
// (sd_listen_fds(3)); LISTEN_PID is that of the process that becomes mybr.
func (s service) activation(argv []string) (command, env []string, files []*os.File) {
	if s.socket == nil {
		return argv, nil, nil
	}
	command = append([]string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, argv...)
	return command, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=plugin"}, []*os.File{s.socket}
}

// StartMybrFails starts mybr where it can't run, waits until it has ended, and gives what it
// has logged.
func (w *World) StartMybrFails() string {
	w.t.Helper()
	before := len(w.Log())
	if err := w.startMybr(); err == nil {
		w.Eventually(startTimeout, func() error {
			if w.mybr.alive() != nil {
				return nil
			}
			return errors.New("mybr has started, and runs")
		})
	}
	return w.Log()[before:]
}

// Guest is where the guest program is on the host, for command lines that don't begin with it.
func (w *World) Guest() string { return w.lab.guest }

// Mybr is where the program that is tested is on the host, for commands of an operator's.
func (w *World) Mybr() string {
	w.t.Helper()
	path, err := w.lab.mybr(w.cfg.Overlay)
	w.must(err)
	return path
}
