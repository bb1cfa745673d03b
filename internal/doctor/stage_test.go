package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/docker"
	"github.com/mybr/mybr/internal/doctor"
	"github.com/mybr/mybr/internal/explain/host"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/nflog"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// TestMain has the test binary play another program that listens.
func TestMain(m *testing.M) {
	if at := os.Getenv("DOCTOR_TEST_LISTEN"); at == "nflog" {
		if _, err := nflog.Listen(firewall.RefusedGroup, firewall.RefusedBytes); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("listening")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	} else if at != "" {
		if _, err := net.Listen("tcp4", at); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("listening")
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends, or it is killed
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The versions of the mybr that the tests build, and of one that is made of it.
const (
	version = "7.7.7-doctor"
	upgrade = "7.7.8-doctor"
)

// stage is a host of its own: a network namespace with an uplink, a mount namespace in which
// the host's files can be played, and a real mybr with a network and a container.
type stage struct {
	testing.TB
	host *nettest.Host
	lan  *nettest.Host
	web  *nettest.Host // the container
	dir  string
	env  doctor.Env

	mu     sync.Mutex
	docker map[string]any // answers of the Docker API by path

	busy, end func() // ends what a row has started
}

// The network that a stage has from its start.
const (
	networkID  = "1111111111111111111111111111111111111111111111111111111111111111"
	endpointID = "2222222222222222222222222222222222222222222222222222222222222222"
)

func newStage(t testing.TB) *stage {
	t.Helper()
	if mapped, err := os.ReadFile("/proc/self/uid_map"); os.Getuid() != 0 || err != nil || len(strings.Fields(string(mapped))) != 3 ||
		strings.Fields(string(mapped))[2] != "4294967295" {
		t.Skip("needs root, and not that of a user namespace: it starts firewalld and mounts over files of the host's")
	}
	text := program(t) // while the caches of the one who tests are in sight
	s := &stage{TB: t, host: nettest.New(t), dir: t.TempDir(), docker: map[string]any{}}
	// The thread has a network namespace of its own and ends with the test: so may its mounts.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skipf("a mount namespace is needed: %v", err)
	}
	s.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	s.lan = s.host.Peer("lan")
	s.host.Connect(nettest.End{Name: "eth0", Addresses: []string{"192.0.2.2/24", "2001:db8::2/64"}}, s.lan,
		nettest.End{Name: "eth0", Addresses: []string{"192.0.2.1/24", "2001:db8::1/64"}})
	s.host.Route("0.0.0.0/0", "192.0.2.1")
	s.host.Route("::/0", "2001:db8::1")
	for _, name := range []string{"bin", "run", "plugins", "state"} {
		s.must(os.Mkdir(filepath.Join(s.dir, name), 0o700))
	}
	for _, dir := range []string{"/root", "/var/log", "/etc/docker"} {
		s.must(os.MkdirAll(dir, 0o755))
		s.must(unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"))
	}
	s.must(unix.Mount("tmpfs", s.path("state"), "tmpfs", 0, "size=100m,mode=700"))
	t.Cleanup(func() { _ = unix.Unmount(s.path("state"), unix.MNT_DETACH) })
	t.Setenv("PATH", s.path("bin")+":"+os.Getenv("PATH"))
	s.install(text)
	s.env = plugin.Client{RunDir: s.path("run")}.Doctor()
	s.env.Version, s.env.Name, s.env.PluginDir, s.env.StateDir = version, "mybr", s.path("plugins"), s.path("state")
	s.env.Paths = func(v view.View, endpoints map[string]bool) (doctor.Paths, error) {
		p, err := host.GatherFor(v, endpoints)
		if err != nil {
			return doctor.Paths{}, err
		}
		return doctor.Paths{World: p.World, Predict: p.Predict, Unread: p.Unread}, nil
	}
	socket := s.serveDocker()
	s.env.Docker, s.env.DockerHost = docker.Client{Socket: socket}.Get, "unix://"+socket
	t.Cleanup(s.killAll)
	s.start("--resync-interval", "0")
	s.network(networkID, "mybr0", "172.18", "fd00:18")
	s.endpoint(networkID, endpointID, "172.18.0.2/16", "fd00:18::2/64")
	s.inhabit()
	s.publish(networkID, endpointID, "0.0.0.0", 8080)
	return s
}

// program builds mybr once.
var build = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "doctor-test")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "mybr")
	cmd := exec.Command("go", "build", "-ldflags", "-X main.version="+version, "-o", path, "github.com/mybr/mybr/cmd/mybr")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(path)
})

func program(t testing.TB) []byte {
	t.Helper()
	text, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// install puts a mybr where PATH finds it, as a package does.
func (s *stage) install(text []byte) {
	s.Helper()
	s.must(os.WriteFile(s.path("bin/mybr.new"), text, 0o755))
	s.must(os.Rename(s.path("bin/mybr.new"), s.path("bin/mybr")))
}

// fake puts a program where PATH finds it.
func (s *stage) fake(name, script string) {
	s.Helper()
	s.must(os.WriteFile(s.path("bin/"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}

// sh runs a command line in the stage, as an administrator would.
func (s *stage) sh(line string) {
	s.Helper()
	out, err := s.try(line)
	if err != nil {
		s.Fatalf("%s: %v: %s", line, err, out)
	}
}

func (s *stage) try(line string) (string, error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // what it has left in the background keeps the pipe
		err = nil
	}
	return out.String(), err
}

// start starts mybr and waits until it has made its first pass.
func (s *stage) start(flags ...string) {
	s.Helper()
	s.startBy("", flags...)
}

// startBy is start with words for the shell before it.
func (s *stage) startBy(before string, flags ...string) {
	s.Helper()
	words := append([]string{"nohup", s.path("bin/mybr"), "serve", "--plugin-dir", s.env.PluginDir, "--state-dir", s.env.StateDir,
		"--run-dir", s.env.RunDir, "--log-level", "warning"}, flags...)
	s.sh(before + strings.Join(words, " ") + " >>" + s.path("log") + " 2>&1 &")
	s.answers()
}

// answers waits until mybr has made its first pass.
func (s *stage) answers() doctor.Process {
	s.Helper()
	var p doctor.Process
	nettest.Eventually(s, 20*time.Second, func() (err error) {
		p, err = s.env.Process(s.Context())
		if err == nil && !p.Ready {
			err = errors.New("the first pass has not ended")
		}
		return err
	})
	return p
}

// stop ends mybr.
func (s *stage) stop() {
	s.Helper()
	p := s.answers()
	s.must(unix.Kill(p.PID, unix.SIGTERM))
	nettest.Eventually(s, 20*time.Second, func() error {
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID)); err == nil {
			return fmt.Errorf("pid %d runs", p.PID)
		}
		return nil
	})
}

func (s *stage) restart(flags ...string) {
	s.Helper()
	s.stop()
	s.start(flags...)
}

// killAll ends every mybr of this stage: those that were started with a folder of it.
func (s *stage) killAll() {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		s.Error(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		cmdline, errRead := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && errRead == nil && pid != os.Getpid() && bytes.Contains(cmdline, []byte("serve")) && bytes.Contains(cmdline, []byte(s.dir)) {
			_ = unix.Kill(pid, unix.SIGKILL) // it may just have ended
		}
	}
	if s.Failed() {
		text, _ := os.ReadFile(s.path("log"))
		s.Logf("mybr's log:\n%s", text)
	}
}

// call is one of Docker's calls.
func (s *stage) call(method string, body any) {
	s.Helper()
	text, err := json.Marshal(body)
	s.must(err)
	socket := filepath.Join(s.env.PluginDir, "mybr.sock")
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
	resp, err := client.Post("http://mybr/"+method, "application/json", bytes.NewReader(text))
	s.must(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	s.must(err)
	if resp.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"Err":"`)) {
		s.Fatalf("%s: %s %s", method, resp.Status, answer)
	}
}

type m = map[string]any

// network makes one with IPv4 and IPv6.
func (s *stage) network(id, bridge, v4, v6 string) {
	s.Helper()
	s.call("NetworkDriver.CreateNetwork", m{
		"NetworkID": id,
		"Options": m{"com.docker.network.enable_ipv6": true, "com.docker.network.generic": m{
			"com.docker.network.bridge.name": bridge,
		}},
		"IPv4Data": []m{{"AddressSpace": "LocalDefault", "Pool": v4 + ".0.0/16", "Gateway": v4 + ".0.1/16"}},
		"IPv6Data": []m{{"AddressSpace": "LocalDefault", "Pool": v6 + "::/64", "Gateway": v6 + "::1/64"}},
	})
	s.dockerHas(id, bridge, "mybr")
}

func (s *stage) endpoint(network, id, v4, v6 string) {
	s.Helper()
	s.call("NetworkDriver.CreateEndpoint", m{"NetworkID": network, "EndpointID": id, "Options": m{}, "Interface": m{"Address": v4, "AddressIPv6": v6}})
	s.call("NetworkDriver.Join", m{"NetworkID": network, "EndpointID": id, "SandboxKey": "/var/run/docker/netns/" + id[:12], "Options": m{}})
}

// inhabit is what Docker does for a container: its namespace gets the end of the pair, and a file
// that keeps it. A program in it listens.
func (s *stage) inhabit() {
	s.Helper()
	s.must(os.MkdirAll("/run/docker/netns", 0o755))
	s.must(unix.Mount("tmpfs", "/run/docker/netns", "tmpfs", 0, "size=1m"))
	s.Cleanup(func() { _ = unix.Unmount("/run/docker/netns", unix.MNT_DETACH) })
	s.web = s.host.Peer("web")
	file := "/run/docker/netns/" + endpointID[:12]
	s.must(os.WriteFile(file, nil, 0o600))
	s.web.In(func() { s.must(unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, "")) })
	v, err := s.env.View(s.Context())
	s.must(err)
	_, inner, _ := strings.Cut(strings.TrimSpace(s.host.Run("sh", "-c", "ip -o link show "+v.Endpoints[0].Veth+" | sed 's/.*@\\([^:]*\\):.*/x \\1/'")), " ")
	s.web.Adopt(s.host, inner, nettest.End{Name: "eth0", Addresses: []string{"172.18.0.2/16", "fd00:18::2/64"}})
	s.web.Route("0.0.0.0/0", "172.18.0.1")
	s.web.Route("::/0", "fd00:18::1")
	s.web.Echo("tcp", ":80")
}

// publish leads a TCP port of the host, at one of its addresses or at all, to a container's port 80.
func (s *stage) publish(network, id, host string, port int) {
	s.Helper()
	s.call("NetworkDriver.ProgramExternalConnectivity", m{"NetworkID": network, "EndpointID": id, "Options": m{
		"com.docker.network.portmap": []m{{"Proto": 6, "IP": "", "Port": 80, "HostIP": host, "HostPort": port, "HostPortEnd": port}},
	}})
}

// dockerHas has the Docker API list a network.
func (s *stage) dockerHas(id, name, driver string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, _ := s.docker["/networks"].([]m)
	s.docker["/networks"] = append(list, m{"Id": id, "Name": name, "Driver": driver, "Scope": "local"})
}

// says has the Docker API answer something.
func (s *stage) says(path string, answer any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.docker[path] = answer
}

// serveDocker answers as the Docker API does, on a socket whose path it returns. A file named
// after the path, as a fake program may write it, counts before what the test has said.
func (s *stage) serveDocker() (socket string) {
	s.Helper()
	socket = s.path("docker.sock")
	ln, err := net.Listen("unix", socket)
	s.must(err)
	s.says("/info", m{"ServerVersion": "28.5.2"})
	s.says("/plugins", []m{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_ping" {
			w.Header().Set("Api-Version", "1.51")
			return
		}
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/v1.51")
		if text, err := os.ReadFile(s.path("api" + strings.ReplaceAll(r.URL.Path, "/", "-"))); err == nil {
			_, _ = w.Write(text)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		answer, ok := s.docker[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	s.Cleanup(func() { server.Close(); <-done })
	return socket
}

// check runs one check in the stage.
func (s *stage) check(name string, env doctor.Env) doctor.Result {
	s.Helper()
	report, err := doctor.Run(s.Context(), env, name)
	s.must(err)
	return report.Results[0]
}

// over has a file of the host show this text, in this stage alone.
func (s *stage) over(path, text string) {
	s.Helper()
	file := s.path(strings.ReplaceAll(path, "/", "-"))
	s.must(os.WriteFile(file, []byte(text), 0o644))
	s.must(unix.Mount(file, path, "", unix.MS_BIND, ""))
}

// listen has another program listen on an address until it is killed.
func (s *stage) listen(address string) (end func()) {
	s.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "DOCTOR_TEST_LISTEN="+address)
	in, err := cmd.StdinPipe()
	s.must(err)
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	line := make([]byte, 16)
	if _, err := out.Read(line); err != nil {
		s.Fatal(err)
	}
	var once sync.Once
	end = func() {
		once.Do(func() {
			in.Close()
			_ = cmd.Wait() // it was killed, perhaps
		})
	}
	s.Cleanup(end)
	return end
}

// zones asks the firewalld on a bus.
func (s *stage) zones(bus string) func(context.Context, []string) (doctor.Zones, error) {
	return func(ctx context.Context, links []string) (doctor.Zones, error) {
		of, running, err := (&firewalld.Applier{Address: bus}).Zones(ctx, links)
		return doctor.Zones{Running: running, Of: of}, err
	}
}
