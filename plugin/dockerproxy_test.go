package plugin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

func quietLog() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// at serves a unix socket until the test ends.
func at(t *testing.T, path string, h http.Handler) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = ln
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
}

// startProxy runs the proxy until the returned function is called, which gives its error.
func startProxy(t *testing.T, c ProxyConfig) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- RunDockerProxy(ctx, c) }()
	stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(3 * proxyDrainWithin):
			t.Fatal("the proxy has not ended")
			return nil
		}
	}
	t.Cleanup(func() { cancel(); <-ended })
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.Dial("unix", c.Listen)
		if err == nil {
			conn.Close()
			return stop
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// From the records to what a client of Docker's sees; and the file is Docker's group's.
func TestDockerProxy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("gives a file to another group: needs root")
	}
	mask := unix.Umask(0o077)
	defer unix.Umask(mask)
	dir := t.TempDir()
	records := model.Snapshot{
		Networks: []model.Network{{ID: "n"}, {ID: "closed", Internal: true}},
		Endpoints: []*model.Endpoint{
			{ID: "e1", NetworkID: "n", V4: netip.MustParsePrefix("172.18.0.2/16"), V6: netip.MustParsePrefix("fd00::2/64"), Ports: []model.PortBinding{
				{Proto: model.TCP, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Container: netip.MustParseAddrPort("172.18.0.2:80"), Count: 2},
			}, OpenV6: []model.PortSpan{{Proto: model.UDP, First: 53, Count: 1}}},
			{ID: "e2", NetworkID: "n"},
			{ID: "e3", NetworkID: "closed"},
		},
	}
	a := &admin{snapshot: func() model.Snapshot { return records }}
	at(t, adminPath(dir), a.handler())
	docker := filepath.Join(dir, "docker.sock")
	at(t, docker, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		id, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/containers/"), "/")
		fmt.Fprintf(w, `{"Config":{"ExposedPorts":{"9/tcp":{}}},"NetworkSettings":{"Ports":{},"Networks":{"n":{"EndpointID":%q}}}}`, id)
	}))
	c := ProxyConfig{Listen: filepath.Join(dir, "sub", "proxy.sock"), Docker: docker, Group: "4242", RunDir: dir, Log: quietLog()}
	stop := startProxy(t, c)
	info, err := os.Stat(c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); info.Mode() != os.ModeSocket|0o660 || s.Uid != 0 || s.Gid != 4242 {
		t.Errorf("mode %v, owner %d:%d", info.Mode(), s.Uid, s.Gid)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Listen)
	}}}
	for id, want := range map[string]string{
		"e1": `{"53/udp":[{"HostIp":"::","HostPort":""}],"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"81/tcp":[{"HostIp":"0.0.0.0","HostPort":"8081"}],"9/tcp":null}`,
		"e2": `{"9/tcp":null}`,
		"e3": `{}`, // no port of it can be published, as with Docker's own driver
		"e4": `{}`, // another driver's
	} {
		resp, err := client.Get("http://docker/containers/" + id + "/json")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(body), `"Ports":`+want+`,`) {
			t.Errorf("%s: %s, %v", id, body, err)
		}
	}
	if err := RunDockerProxy(t.Context(), c); err == nil || !strings.Contains(err.Error(), "in use by pid "+strconv.Itoa(os.Getpid())) {
		t.Errorf("a second one: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(c.Listen); !os.IsNotExist(err) {
		t.Errorf("its file is there: %v", err)
	}
}

// What is under way when the proxy ends may end, a stream too.
func TestDockerProxyEnds(t *testing.T) {
	dir := t.TempDir()
	docker := filepath.Join(dir, "docker.sock")
	let := make(chan struct{})
	at(t, docker, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/attach") {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			select {
			case <-let:
				fmt.Fprint(conn, "output")
			case <-time.After(20 * time.Second):
			}
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-let:
			fmt.Fprint(w, "whole")
		case <-r.Context().Done():
		}
	}))
	c := ProxyConfig{Listen: filepath.Join(dir, "proxy.sock"), Docker: docker, RunDir: dir, Log: quietLog()}
	stop := startProxy(t, c)
	ask := func(request string) (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("unix", c.Listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n", request)
		if strings.HasPrefix(request, "POST") {
			fmt.Fprint(conn, "Upgrade: tcp\r\n")
		}
		fmt.Fprint(conn, "\r\n")
		r := bufio.NewReader(conn)
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return conn, r
	}
	_, request := ask("GET /info")
	client, stream := ask("POST /containers/c/attach")
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Lstat(c.Listen); os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not end")
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(let)
	if text, err := io.ReadAll(request); err != nil || !strings.Contains(string(text), "whole") {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := io.ReadAll(stream); err != nil || !strings.HasSuffix(string(text), "output") {
		t.Errorf("stream: %q, %v", text, err)
	}
	client.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Streams without an end are cut off when the time is over.
func TestDockerProxyCutsOff(t *testing.T) {
	s, err := listen(t.Context(), filepath.Join(t.TempDir(), "proxy.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := quietLog()
	var said strings.Builder
	log.SetOutput(&said)
	ended := make(chan error, 1)
	go func() {
		ended <- serveProxy(ctx, log, s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "begun")
			<-r.Context().Done()
		}), 50*time.Millisecond)
	}()
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: docker\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, len("begun"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if text, err := io.ReadAll(conn); err != nil || len(text) > 0 {
		t.Errorf("%q, %v", text, err)
	}
	if err := <-ended; err != nil || !strings.Contains(said.String(), "what did not end within 50ms is cut off") {
		t.Errorf("%v, said %q", err, said.String())
	}
}

// A request that comes when the time for what is under way is over is not begun.
func TestUnderWay(t *testing.T) {
	u := underWay{idle: make(chan struct{})}
	begun, let := make(chan struct{}), make(chan struct{})
	h := u.counted(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-let
	}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.ServeHTTP(nil, nil)
	}()
	<-begun
	u.end()
	select {
	case <-u.idle:
		t.Error("nothing is under way, it says")
	default:
	}
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("a request behind the end: %v", p)
			}
		}()
		h.ServeHTTP(nil, nil)
	}()
	close(let)
	<-ended
	<-u.idle
	none := underWay{idle: make(chan struct{})}
	none.end()
	<-none.idle
}

func TestUnixSocket(t *testing.T) {
	for address, want := range map[string]string{
		"unix:///var/run/docker.sock": "/var/run/docker.sock",
		"unix:///a/../b.sock":         "/b.sock",
	} {
		if have, err := UnixSocket(address); err != nil || have != want {
			t.Errorf("%s: %q, %v", address, have, err)
		}
	}
	for address, want := range map[string]string{
		"": "want unix:///PATH", "/var/run/docker.sock": "want unix:///PATH", "tcp://127.0.0.1:2375": "want unix:///PATH",
		"unix://docker.sock": "want unix:///PATH", "unix://": "want unix:///PATH",
		"unix:///" + strings.Repeat("x", 107): "the path has 108 bytes: want at most 107",
	} {
		if have, err := UnixSocket(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", address, have, err)
		}
	}
}

func TestGroupID(t *testing.T) {
	for name, want := range map[string]int{"root": 0, "0": 0, "4242": 4242} {
		if have, err := groupID(name); err != nil || have != want {
			t.Errorf("%q: %d, %v", name, have, err)
		}
	}
	if have, err := groupID("no-such-group"); err == nil || !strings.Contains(err.Error(), `group "no-such-group"`) {
		t.Errorf("%d, %v", have, err)
	}
	if _, err := groupID(""); err != nil {
		t.Error(err) // with and without a group docker
	}
}

// The proxy does not take Docker's own place.
func TestDockerProxyBeforeItself(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("proxy.sock", filepath.Join(dir, "leads-to-proxy.sock")); err != nil {
		t.Fatal(err)
	}
	for listen, docker := range map[string]string{"docker.sock": "link/docker.sock", "proxy.sock": "leads-to-proxy.sock"} {
		c := ProxyConfig{Listen: filepath.Join(dir, listen), Docker: filepath.Join(dir, docker), Log: quietLog()}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := RunDockerProxy(ctx, c)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "that is Docker's own socket") {
			t.Errorf("%s, %s: %v", listen, docker, err)
		}
		if _, err := os.Lstat(c.Listen); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", c.Listen, err)
		}
	}
}
