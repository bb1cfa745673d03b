package world

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// How long a daemon may take before a test fails for it. They are limits, not waits.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// Image is the name of the guest's image. Its entrypoint is the guest program.
const Image = "guest"

func (w *World) startDocker() error { return w.startDockerWithin(startTimeout) }

// startDockerWithin starts dockerd and waits for it to serve.
func (w *World) startDockerWithin(timeout time.Duration) error {
	args := append([]string{"dockerd",
		"--data-root", filepath.Join(w.dir, "docker"),
		"--storage-driver", "overlay2",
		"--cgroup-parent", "/" + w.name,
		"--log-level", "warn",
	}, w.cfg.DockerArgs...)
	var err error
	if w.docker, err = w.daemon("dockerd", nil, nil, args...); err != nil {
		return err
	}
	return poll(timeout, func() error {
		if err := w.docker.alive(); err != nil {
			return err
		}
		return w.ping()
	})
}

// ping asks the engine whether it serves (GET /_ping of Docker's API).
func (w *World) ping() error {
	resp, err := w.api("/_ping")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("docker ping: %s", resp.Status)
	}
	return nil
}

// api is a GET request to the engine.
func (w *World) api(path string) (*http.Response, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", w.Path(w.DockerSocket()))
		}}}
	return client.Get("http://docker" + path)
}

// API asks the engine for an object, such as /containers/NAME/json, and tells whether
// there is one. It costs a hundredth of what the docker client does.
func (w *World) API(path string, into any) bool {
	w.t.Helper()
	resp, err := w.api(path)
	w.must(err)
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return false
	}
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("docker API: %s: %s", path, resp.Status)
	}
	w.must(json.NewDecoder(resp.Body).Decode(into))
	return true
}

// loadGuest makes the image from the guest program alone.
func (w *World) loadGuest() error {
	program, err := os.ReadFile(w.lab.guest)
	if err != nil {
		return err
	}
	var image bytes.Buffer
	t := tar.NewWriter(&image)
	if err := t.WriteHeader(&tar.Header{Name: "guest", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := t.Write(program); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	r := w.Host.run(&image, "docker", "import", "--change", `ENTRYPOINT ["/guest"]`, "-", Image)
	if r.Code != 0 {
		return fmt.Errorf("docker import: %s", r.Err)
	}
	return nil
}

// StopDocker ends dockerd as its service would: SIGTERM, and its containers with it
// unless it runs with --live-restore.
func (w *World) StopDocker() { w.t.Helper(); w.must(w.docker.stop(syscall.SIGTERM)) }

// KillDocker ends dockerd with SIGKILL.
func (w *World) KillDocker() { w.t.Helper(); w.must(w.docker.stop(syscall.SIGKILL)) }

// StartDocker starts dockerd again after it was stopped or killed.
func (w *World) StartDocker() { w.t.Helper(); w.must(w.startDocker()) }

// StartDockerTry is StartDocker where that may fail, or take long.
func (w *World) StartDockerTry(timeout time.Duration) error { return w.startDockerWithin(timeout) }

// RestartDocker is StopDocker and StartDocker.
func (w *World) RestartDocker() { w.t.Helper(); w.StopDocker(); w.StartDocker() }

// startMybr starts mybr serve and waits until it listens. With Docker's own driver
// there is nothing to start.
func (w *World) startMybr() error {
	if w.Driver != "mybr" {
		return nil
	}
	path, err := w.lab.mybr(w.cfg.Overlay)
	if err != nil {
		return err
	}
	if w.service.program != "" {
		path = w.service.program
	}
	argv, role, err := confined(serveConfinement, w.cfg.Drop, append([]string{path, "serve"}, w.cfg.MybrArgs...)...)
	if err != nil {
		return err
	}
	args, env, files := w.service.activation(argv)
	env = append(env, "MYBR_STATE_DIR="+filepath.Join(w.dir, "mybr"), "MYBR_LOG_LEVEL=debug")
	if w.cfg.Firewall != "" {
		env = append(env, "MYBR_FIREWALL="+w.cfg.Firewall)
	}
	if w.mybr, err = w.daemon("mybr", append(env, role...), files, args...); err != nil {
		return err
	}
	return poll(startTimeout, func() error {
		if err := w.mybr.alive(); err != nil {
			return err
		}
		c, err := net.Dial("unix", w.Path(pluginSocket))
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// StopMybr ends mybr as its service would; KillMybr with SIGKILL.
func (w *World) StopMybr() { w.t.Helper(); w.must(w.mybr.stop(syscall.SIGTERM)) }

// KillMybr ends mybr with SIGKILL.
func (w *World) KillMybr() { w.t.Helper(); w.must(w.mybr.stop(syscall.SIGKILL)) }

// StartMybr starts mybr again after it was stopped or killed.
func (w *World) StartMybr() { w.t.Helper(); w.must(w.startMybr()) }

// MybrArgs replaces Config.MybrArgs, from mybr's next start on.
func (w *World) MybrArgs(args ...string) { w.cfg.MybrArgs = args }

// Firewall changes mybr's --firewall for its next starts.
func (w *World) Firewall(kind string) { w.cfg.Firewall = kind }

// Backend is what mybr filters packets with: beside these engines its own choice is iptables.
func (w *World) Backend() string {
	if w.cfg.Firewall == NFTables {
		return NFTables
	}
	return IPTables
}

// RestartMybr is StopMybr and StartMybr.
func (w *World) RestartMybr() { w.t.Helper(); w.StopMybr(); w.StartMybr() }

// MybrPID is mybr's process, as the test process sees it; 0: there is none.
func (w *World) MybrPID() int {
	if w.mybr == nil {
		return 0
	}
	return w.mybr.cmd.Process.Pid
}

// Log is what mybr has logged so far, in all its lives.
func (w *World) Log() string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "mybr.log"))
	w.must(err)
	return string(text)
}

// StateDir is where mybr keeps its records.
func (w *World) StateDir() string { return filepath.Join(w.dir, "mybr") }

// StateCopy copies the records to a directory while mybr runs, and returns the state file there.
// The journal comes first: what leaves it meanwhile is in the state file.
func (w *World) StateCopy(dir string) (path string) {
	w.t.Helper()
	path = filepath.Join(dir, "mybr.db")
	for _, suffix := range []string{".journal", ""} {
		text, err := os.ReadFile(filepath.Join(w.StateDir(), "mybr.db"+suffix))
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(path+suffix, text, 0o600)
		}
		if err != nil {
			w.t.Fatalf("copy the records: %v", err)
		}
	}
	return path
}

func (d *daemon) alive() error {
	select {
	case <-d.ended:
		return fatal{fmt.Errorf("%s ended by itself: %v", d.name, d.cmd.ProcessState)}
	default:
		return nil
	}
}

// fatal is an error that poll need not wait any longer for.
type fatal struct{ error }

// poll calls f until it succeeds, and gives its last error after the timeout.
func poll(timeout time.Duration, f func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := f()
		if err == nil {
			return nil
		}
		var f fatal
		if errors.As(err, &f) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Eventually calls f until it succeeds, and fails the test with its last error after
// the timeout.
func (w *World) Eventually(timeout time.Duration, f func() error) {
	w.t.Helper()
	w.must(poll(timeout, f))
}

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v", err)
	}
}
