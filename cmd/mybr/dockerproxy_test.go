package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// A client that comes first, and while the proxy is restarted, waits in systemd's socket.
func TestDockerProxyActivation(t *testing.T) {
	nettest.New(t)
	dir := t.TempDir()
	docker := filepath.Join(dir, "docker.sock")
	ln, err := net.Listen("unix", docker)
	if err != nil {
		t.Fatal(err)
	}
	engine := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(r.URL.Path) // a client that is gone reads nothing
	})}
	go func() { _ = engine.Serve(ln) }()
	t.Cleanup(func() { engine.Close() })
	path := filepath.Join(dir, "proxy", "docker.sock")
	held := systemds(t, path)
	for _, c := range []struct{ listen, warns string }{
		{"", ""},
		{"MYBR_LISTEN=unix://" + path, ""}, // where it is
		{"MYBR_LISTEN=unix:///elsewhere.sock", "listen unix:///elsewhere.sock has no effect: the socket is systemd's, unix://" + path},
	} {
		early := make(chan string, 1)
		go func() {
			status, answer, err := ask(path, "GET", "/early", "")
			early <- fmt.Sprint(status, strings.TrimSpace(answer), err)
		}()
		i := start(t, dir, []string{"MYBR_DOCKER=unix://" + docker, "MYBR_GROUP=root", c.listen}, activated("docker", held), func(cmd *exec.Cmd) {
			for n, arg := range cmd.Args {
				if arg == "serve" {
					cmd.Args[n] = "docker-proxy"
				}
			}
		})
		if answer := <-early; answer != `200"/early"<nil>` {
			t.Errorf("have %q", answer)
		}
		i.signal(t, unix.SIGTERM)
		if code := i.ended(t); code != 0 || gone(path) {
			t.Errorf("exit %d, the socket is gone: %v", code, gone(path))
		}
		log := i.log.String()
		if !strings.Contains(log, `group \"root\" has no effect: the socket is systemd's`) {
			t.Errorf("logged %s", log)
		}
		if strings.Contains(log, "listen unix://") != (c.warns != "") || !strings.Contains(log, c.warns) {
			t.Errorf("%s: logged %s, want %q", c.listen, log, c.warns)
		}
	}
}
