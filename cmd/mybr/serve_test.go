package main

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
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/store"
)

// instance is a running `mybr serve` in the test's network namespace.
type instance struct {
	cmd           *exec.Cmd
	plugin, admin string // sockets
	log           *output
	done          chan struct{} // closed when it has ended
}

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs `mybr serve` with its folders below dir. prepare may change the command
// before it starts.
func start(t *testing.T, dir string, environ []string, prepare ...func(*exec.Cmd)) *instance {
	t.Helper()
	i := &instance{
		plugin: filepath.Join(dir, "plugins", "mybr.sock"),
		admin:  filepath.Join(dir, "run", "mybr.sock"),
		log:    new(output),
		done:   make(chan struct{}),
	}
	i.cmd = sandboxed(t, nil, append(folders(dir), environ...), []string{binary, "serve", "--log-level", "debug"})
	i.cmd.Stdout, i.cmd.Stderr = i.log, i.log
	for _, p := range prepare {
		p(i.cmd)
	}
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(i.done)
		_ = i.cmd.Wait() // the state says it
	}()
	t.Cleanup(func() {
		i.cmd.Process.Kill()
		<-i.done
		if t.Failed() {
			t.Logf("log of %d:\n%s", i.cmd.Process.Pid, i.log)
		}
	})
	return i
}

func folders(dir string) []string {
	return []string{"MYBR_PLUGIN_DIR=" + dir + "/plugins", "MYBR_STATE_DIR=" + dir + "/state", "MYBR_RUN_DIR=" + dir + "/run"}
}

// up starts an instance and waits until it answers.
func up(t *testing.T, dir string, environ []string, prepare ...func(*exec.Cmd)) *instance {
	t.Helper()
	i := start(t, dir, environ, prepare...)
	waitFor(t, func() bool {
		select {
		case <-i.done:
			t.Fatalf("ended with %s: %s", i.cmd.ProcessState, i.log)
		default:
		}
		_, _, err := i.call("/Plugin.Activate", "")
		return err == nil
	})
	return i
}

// call makes one call, as Docker does.
func (i *instance) call(path, body string) (status int, answer string, err error) {
	return ask(i.plugin, "POST", path, body)
}

func ask(socket, method, path, body string) (status int, answer string, err error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	req, err := http.NewRequest(method, "http://mybr"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := (&http.Client{Transport: transport, Timeout: testWithin}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(text)), err
}

// must makes a call that has to succeed.
func (i *instance) must(t *testing.T, path, body string) string {
	t.Helper()
	status, answer, err := i.call(path, body)
	if err != nil || status != 200 {
		t.Fatalf("%s: %d %s %v", path, status, answer, err)
	}
	return answer
}

func (i *instance) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := i.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ended waits for the end and returns the exit status.
func (i *instance) ended(t *testing.T) int {
	t.Helper()
	select {
	case <-i.done:
	case <-time.After(testWithin):
		t.Fatalf("still running: %s", i.log)
	}
	return i.cmd.ProcessState.ExitCode()
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testWithin); !cond(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to pass")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

const (
	networkID  = "8b2e0c7d5f1a4e69b3c2d1e0f9a8b7c68b2e0c7d5f1a4e69b3c2d1e0f9a8b7c6"
	createBody = `{"NetworkID":"` + networkID + `","Options":{"com.docker.network.enable_ipv6":false,
		"com.docker.network.generic":{"com.docker.network.bridge.name":"mybr0"}},
		"IPv4Data":[{"AddressSpace":"LocalDefault","Gateway":"10.198.1.1/24","Pool":"10.198.1.0/24"}],"IPv6Data":[]}`
)

// From activation to the end: a network is made, kept over a restart, and removed.
func TestServe(t *testing.T) {
	nettest.New(t)
	dir := t.TempDir()
	i := up(t, dir, nil)
	for _, socket := range []string{i.plugin, i.admin} {
		if info, err := os.Lstat(socket); err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("%s: %v %v", socket, info, err)
		}
	}
	for path, want := range map[string]string{
		"/Plugin.Activate":                    `{"Implements":["NetworkDriver","IpamDriver"]}`,
		"/NetworkDriver.GetCapabilities":      `{"Scope":"local","ConnectivityScope":"local","GwAllocChecker":true}`,
		"/IpamDriver.GetCapabilities":         `{"RequiresMACAddress":true,"RequiresRequestReplay":true}`,
		"/IpamDriver.GetDefaultAddressSpaces": `{"LocalDefaultAddressSpace":"mybr-local","GlobalDefaultAddressSpace":"mybr-global"}`,
	} {
		if have := i.must(t, path, ""); have != want {
			t.Errorf("%s: %s, want %s", path, have, want)
		}
	}
	i.must(t, "/NetworkDriver.CreateNetwork", createBody)
	if out, err := exec.Command("ip", "-br", "addr", "show", "mybr0").CombinedOutput(); err != nil || !strings.Contains(string(out), "10.198.1.1/24") {
		t.Errorf("bridge: %s %v", out, err)
	}
	status, answer, err := ask(i.admin, "GET", "/v1/status", "")
	var s struct {
		Version             string
		PID                 int
		Networks, Endpoints int
		Ready               bool
		LastError           string
	}
	if err != nil || status != 200 || json.Unmarshal([]byte(answer), &s) != nil ||
		s.Version != "v1.2.3" || s.PID != i.cmd.Process.Pid || s.Networks != 1 || s.Endpoints != 0 || !s.Ready || s.LastError != "" {
		t.Errorf("status: %d %s %v", status, answer, err)
	}
	if status, answer, _ := ask(i.admin, "GET", "/v1/published", ""); status != 200 || answer != "[]" {
		t.Errorf("ports: %d %s", status, answer)
	}
	for path, want := range map[string]int{"/v2/status": 404, "/": 404, "/v1/published": 405} {
		if status, answer, _ := ask(i.admin, "POST", path, ""); status != want {
			t.Errorf("POST %s: %d %s, want %d", path, status, answer, want)
		}
	}

	i.signal(t, unix.SIGTERM)
	if code := i.ended(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if !gone(i.plugin) || !gone(i.admin) {
		t.Error("sockets are left")
	}
	if err := exec.Command("ip", "link", "show", "mybr0").Run(); err != nil {
		t.Error("the bridge did not outlive the process")
	}

	i = up(t, dir, nil)
	i.must(t, "/NetworkDriver.DeleteNetwork", `{"NetworkID":"`+networkID+`"}`)
	if err := exec.Command("ip", "link", "show", "mybr0").Run(); err == nil {
		t.Error("the bridge is left")
	}
	i.signal(t, unix.SIGINT)
	if code := i.ended(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// What a killed process leaves behind is no obstacle.
func TestStartAfterKill(t *testing.T) {
	nettest.New(t)
	dir := t.TempDir()
	i := up(t, dir, nil)
	i.signal(t, unix.SIGKILL)
	i.ended(t)
	if gone(i.plugin) {
		t.Fatal("no stale socket to replace")
	}
	i = up(t, dir, nil)
	i.signal(t, unix.SIGTERM)
	if code := i.ended(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestSecondInstance(t *testing.T) {
	h := nettest.New(t)
	dir := t.TempDir()
	first := up(t, dir, nil)
	owner := fmt.Sprintf("pid %d (%s serve --log-level debug)", first.cmd.Process.Pid, binary)

	second := start(t, t.TempDir(), nil)
	if code, want := second.ended(t), "mybr: mybr runs in this network namespace already: "+owner+"\n"; code != exitFailed || second.log.String() != want {
		t.Errorf("same namespace: exit %d %q, want %q", code, second.log, want)
	}

	// Elsewhere, with the same records, and then with the same socket only.
	h.Peer("elsewhere").In(func() {
		third := start(t, dir, nil)
		if code := third.ended(t); code != exitFailed || !strings.Contains(third.log.String(), fmt.Sprintf(" %d (", first.cmd.Process.Pid)) ||
			!strings.Contains(third.log.String(), dir+"/state/mybr.db") || strings.Count(third.log.String(), "\n") != 1 {
			t.Errorf("same state: exit %d %q", code, third.log)
		}
		fourth := start(t, t.TempDir(), nil, func(c *exec.Cmd) { c.Env = append(c.Env, "MYBR_PLUGIN_DIR="+filepath.Dir(first.plugin)) })
		if code, want := fourth.ended(t), "mybr: listen on "+first.plugin+": in use by "+owner+"\n"; code != exitFailed || !strings.HasSuffix(fourth.log.String(), want) {
			t.Errorf("same socket: exit %d %q, want %q", code, fourth.log, want)
		}
	})
	if _, _, err := first.call("/Plugin.Activate", ""); err != nil {
		t.Errorf("the first instance: %v", err)
	}
}

func TestNotify(t *testing.T) {
	nettest.New(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	next := func() string {
		b := make([]byte, 256)
		manager.SetReadDeadline(time.Now().Add(testWithin))
		n, err := manager.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	i := start(t, dir, []string{"NOTIFY_SOCKET=" + path})
	if have := next(); have != "READY=1" {
		t.Errorf("first %q", have)
	}
	for _, socket := range []string{i.plugin, i.admin} { // at once, without trying again
		if status, _, err := ask(socket, "POST", "/Plugin.Activate", ""); err != nil {
			t.Errorf("ready, but %s: %d %v", socket, status, err)
		}
	}
	i.signal(t, unix.SIGTERM)
	if have := next(); have != "STOPPING=1" {
		t.Errorf("then %q", have)
	}
	if code := i.ended(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// The operator's commands, against a running process.
func TestAsk(t *testing.T) {
	nettest.New(t)
	dir := t.TempDir()
	i := up(t, dir, nil)
	waitFor(t, func() bool {
		_, s, _ := ask(i.admin, "GET", "/v1/status", "")
		return strings.Contains(s, `"ready":true`)
	})
	code, stdout, stderr := execute(t, []string{"MYBR_RUN_DIR=" + dir + "/run"}, "status")
	for _, want := range []string{"version:    v1.2.3\n", fmt.Sprintf("pid:        %d\n", i.cmd.Process.Pid), "networks:   0\n", "host:       matches the records\n"} {
		if code != 0 || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("status: exit %d, %q, no %q in\n%s", code, stderr, want, stdout)
		}
	}
	code, stdout, stderr = execute(t, nil, "ports", "--run-dir", dir+"/run")
	if want := "PROTO  HOST  CONTAINER  ADDRESS  NETWORK  CARRIED  CONNECTIONS\n"; code != 0 || stderr != "" || stdout != want {
		t.Errorf("ports: exit %d, %q, %q, want %q", code, stderr, stdout, want)
	}
	code, stdout, stderr = execute(t, nil, "sync", "--run-dir", dir+"/run")
	if want := "the host matches the records: nothing was to be mended\n"; code != 0 || stderr != "" || stdout != want {
		t.Errorf("sync: exit %d, %q, %q, want %q", code, stderr, stdout, want)
	}
	code, stdout, stderr = execute(t, nil, "backup", "--run-dir", dir+"/run")
	path := filepath.Join(dir, "backup.db")
	if err := os.WriteFile(path, []byte(stdout), 0o600); err != nil || code != 0 || stderr != "" {
		t.Errorf("backup: exit %d, %q, %v", code, stderr, err)
	}
	if s, err := store.Open(path); err != nil {
		t.Errorf("backup: %v", err)
	} else if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Every call of the protocols is there: none is answered 404, and those with an
// argument refuse an empty body.
func TestEveryCallIsThere(t *testing.T) {
	nettest.New(t)
	i := up(t, t.TempDir(), nil)
	for want, calls := range map[int]string{
		200: `Plugin.Activate NetworkDriver.GetCapabilities IpamDriver.GetCapabilities IpamDriver.GetDefaultAddressSpaces`,
		400: `NetworkDriver.GwAllocCheck NetworkDriver.AllocateNetwork NetworkDriver.FreeNetwork NetworkDriver.CreateNetwork
			NetworkDriver.DeleteNetwork NetworkDriver.CreateEndpoint NetworkDriver.DeleteEndpoint NetworkDriver.EndpointOperInfo
			NetworkDriver.Join NetworkDriver.Leave NetworkDriver.DiscoverNew NetworkDriver.DiscoverDelete
			NetworkDriver.ProgramExternalConnectivity NetworkDriver.RevokeExternalConnectivity
			IpamDriver.RequestPool IpamDriver.ReleasePool IpamDriver.RequestAddress IpamDriver.ReleaseAddress`,
		404: `NetworkDriver.Nothing VolumeDriver.Create`,
	} {
		for name := range strings.FieldsSeq(calls) {
			if status, answer, err := i.call("/"+name, ""); err != nil || status != want {
				t.Errorf("%s: %d %s %v, want %d", name, status, answer, err, want)
			}
		}
	}
}
