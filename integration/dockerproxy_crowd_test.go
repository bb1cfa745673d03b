package integration

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// TestDockerProxyCrowd has many clients attach to a container, execute something in it and
// follow its log at once, through the proxy. Each gets every byte, also what comes after the
// end of its own input, and nothing of it is left in the proxy.
func TestDockerProxyCrowd(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about the mybr driver")
	}
	t.Parallel()
	each := 100
	if world.Short() {
		each = 8
	}
	w := world.New(t, world.Config{})
	w.StartDockerProxy()
	w.Network("n0")
	w.Docker("run", "-d", "-i", "--name", "echo", "--net", "n0", "-p", "8080:80", world.Image, "cat")
	before := proxyFiles(t, w)

	var lines []string
	for i := range each {
		lines = append(lines, fmt.Sprintf("from client %d\n", i))
	}
	c := crowd{t: t, w: w}
	attached := make([]*stream, each)
	for i := range attached {
		attached[i] = c.upgrade("/containers/echo/attach?stream=1&stdin=1&stdout=1", "")
	}
	followers := make([]*stream, each)
	for i := range followers {
		followers[i] = c.follow("/containers/echo/logs?follow=1&stdout=1")
	}
	var all sync.WaitGroup
	for i := range each {
		s := c.execute()
		all.Go(func() { s.echoes(t, i) })
	}
	for i, s := range attached {
		if _, err := io.WriteString(s.conn, lines[i]); err != nil {
			t.Fatal(err)
		}
	}
	for what, crowd := range map[string][]*stream{"attached": attached, "log": followers} {
		for i, s := range crowd {
			all.Go(func() { s.sees(t, fmt.Sprint(what, " client ", i), lines) })
		}
	}
	all.Wait()
	if got := w.Proxied("port", "echo"); !strings.Contains(got, "80/tcp -> 0.0.0.0:8080") {
		t.Errorf("docker port: %q", got)
	}
	if !world.Short() { // it takes the time that mybr has to answer
		portsWhileMybrHangs(t, w)
	}
	w.Docker("kill", "echo")
	for what, crowd := range map[string][]*stream{"attached": attached, "log": followers} {
		for i, s := range crowd {
			if rest, err := io.ReadAll(s.output); err != nil || len(rest) > 0 {
				t.Errorf("%s client %d, after the container's end: %q, %v", what, i, rest, err)
			}
			s.conn.Close()
		}
	}
	w.Eventually(10*time.Second, func() error {
		if now := proxyFiles(t, w); now > before {
			return fmt.Errorf("the proxy has %d descriptors, %d before", now, before)
		}
		return nil
	})
}

// portsWhileMybrHangs has clients ask for the ports of a mybr that does not answer: one waits
// 5 seconds for it, and no other.
func portsWhileMybrHangs(t *testing.T, w *world.World) {
	t.Helper()
	if err := syscall.Kill(w.MybrPID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Kill(w.MybrPID(), syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	const times = 30
	begun, waited := time.Now(), 0
	for range times {
		asked := time.Now()
		c := crowd{t: t, w: w}
		conn, _, resp := c.request("GET /containers/json", "")
		body, err := io.ReadAll(resp.Body)
		conn.Close()
		if err != nil || !strings.Contains(string(body), `"PublicPort":8080`) {
			t.Fatalf("%s, %v", body, err)
		}
		if time.Since(asked) > 4*time.Second {
			waited++
		}
	}
	if waited != 1 {
		t.Errorf("%d of %d lists waited for mybr, want 1", waited, times)
	}
	if took := time.Since(begun); took > times*5*time.Second/3 {
		t.Errorf("%d lists took %s while mybr hung", times, took)
	}
	if n := strings.Count(w.ProxyLog(), "published ports are shown as mybr told them last"); n != 1 {
		t.Errorf("the proxy has said %d times that mybr can't be asked: %s", n, w.ProxyLog())
	}
}

// proxyFiles is how many files the proxy has open.
func proxyFiles(t *testing.T, w *world.World) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.ProxyPID()))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// crowd asks Docker through the proxy, without a client's process for each.
type crowd struct {
	t *testing.T
	w *world.World
}

// stream is a connection whose output is a container's.
type stream struct {
	conn   *net.UnixConn
	output *bufio.Reader // of the container, without Docker's frames
}

func (c crowd) request(head, body string) (*net.UnixConn, *bufio.Reader, *http.Response) {
	c.t.Helper()
	conn, err := net.Dial("unix", c.w.Path(world.ProxySocket))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", head, len(body))
	if strings.Contains(head, "attach") || strings.Contains(head, "/start") {
		fmt.Fprint(conn, "Connection: Upgrade\r\nUpgrade: tcp\r\n")
	}
	fmt.Fprintf(conn, "\r\n%s", body)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		c.t.Fatalf("%s: %v", head, err)
	}
	return conn.(*net.UnixConn), r, resp
}

// upgrade begins a stream of both directions.
func (c crowd) upgrade(path, body string) *stream {
	c.t.Helper()
	conn, r, resp := c.request("POST "+path, body)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(resp.Body)
		c.t.Fatalf("%s: %s: %s", path, resp.Status, text)
	}
	return &stream{conn, bufio.NewReader(&frames{r: r})}
}

// follow begins to read an answer that does not end.
func (c crowd) follow(path string) *stream {
	c.t.Helper()
	conn, _, resp := c.request("GET "+path, "")
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s", path, resp.Status)
	}
	return &stream{conn, bufio.NewReader(&frames{r: resp.Body})}
}

// execute begins to run cat in the container.
func (c crowd) execute() *stream {
	c.t.Helper()
	conn, _, resp := c.request("POST /containers/echo/exec", `{"AttachStdin":true,"AttachStdout":true,"Cmd":["/guest","cat"]}`)
	defer conn.Close()
	var made struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || made.ID == "" {
		c.t.Fatalf("exec: %s, %v", resp.Status, err)
	}
	return c.upgrade("/exec/"+made.ID+"/start", `{"Detach":false,"Tty":false}`)
}

// echoes writes, ends its input, and expects all of it to come back, and then the end.
func (s *stream) echoes(t *testing.T, i int) {
	input := bytes.Repeat(fmt.Appendf(nil, "input of %d\n", i), 8000)
	go func() {
		_, _ = s.conn.Write(input) // what is missing shows in the output
		_ = s.conn.CloseWrite()
	}()
	if output, err := io.ReadAll(s.output); err != nil || !bytes.Equal(output, input) {
		t.Errorf("exec %d: %d bytes of %d, %v", i, len(output), len(input), err)
	}
	s.conn.Close()
}

// sees waits until all lines have been read, in whatever order.
func (s *stream) sees(t *testing.T, who string, lines []string) {
	missing := map[string]bool{}
	for _, line := range lines {
		missing[line] = true
	}
	for len(missing) > 0 {
		line, err := s.output.ReadString('\n')
		if err != nil || !missing[line] {
			t.Errorf("%s: %q, %v; %d lines to come", who, line, err, len(missing))
			return
		}
		delete(missing, line)
	}
}

// frames is the content of Docker's frames: eight bytes, of which the last four are the
// length of what follows (Engine API, ContainerAttach, "Stream format").
type frames struct {
	r    io.Reader
	left int
}

func (f *frames) Read(p []byte) (int, error) {
	for f.left == 0 {
		var head [8]byte
		if _, err := io.ReadFull(f.r, head[:]); err != nil {
			return 0, err
		}
		f.left = int(binary.BigEndian.Uint32(head[4:]))
	}
	n, err := f.r.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}
