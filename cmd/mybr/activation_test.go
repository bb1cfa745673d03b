package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// activated makes the command get files from systemd, under names.
func activated(names string, files ...*os.File) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		for n, arg := range c.Args { // LISTEN_PID is that of the process that becomes mybr
			c.Args[n] = strings.Replace(arg, `exec "$@"`, `LISTEN_PID=$$ exec "$@"`, 1)
		}
		c.Env = append(c.Env, fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+names)
		c.ExtraFiles = files
	}
}

// systemds makes a listening socket as systemd does.
func systemds(t *testing.T, path string) *os.File {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	defer ln.Close()
	f, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// No call is lost while mybr is restarted: it waits on systemd's socket.
func TestSocketActivation(t *testing.T) {
	nettest.New(t)
	for name, names := range map[string]string{"by name": "plugin:admin", "by path": "mybr.socket:mybr.socket"} {
		dir := t.TempDir()
		plugin := systemds(t, filepath.Join(dir, "plugins", "mybr.sock"))
		admin := systemds(t, filepath.Join(dir, "run", "mybr.sock"))
		type result struct {
			status int
			err    error
		}
		early := make(chan result, 1)
		go func() {
			status, _, err := ask(filepath.Join(dir, "plugins", "mybr.sock"), "POST", "/NetworkDriver.Leave", `{"NetworkID":"a","EndpointID":"b"}`)
			early <- result{status, err}
		}()
		for range 2 {
			i := up(t, dir, nil, activated(names, plugin, admin))
			if r := <-early; r.err != nil || r.status != 200 {
				t.Errorf("%s: the call that came first: %+v", name, r)
			}
			if status, _, err := ask(i.admin, "GET", "/v1/status", ""); err != nil || status != 200 {
				t.Errorf("%s: %d %v", name, status, err)
			}
			i.signal(t, unix.SIGTERM)
			if code := i.ended(t); code != 0 || gone(i.plugin) || gone(i.admin) {
				t.Errorf("%s: exit %d, sockets gone: %v %v", name, code, gone(i.plugin), gone(i.admin))
			}
			go func() {
				status, _, err := ask(i.plugin, "POST", "/NetworkDriver.Leave", `{"NetworkID":"a","EndpointID":"b"}`)
				early <- result{status, err}
			}()
		}
	}
}

// One socket may be systemd's and the other mybr's own.
func TestSocketActivationOfOne(t *testing.T) {
	nettest.New(t)
	dir := t.TempDir()
	elsewhere := filepath.Join(dir, "elsewhere", "x.sock")
	i := start(t, dir, nil, activated("plugin", systemds(t, elsewhere)))
	waitFor(t, func() bool { _, _, err := ask(i.admin, "GET", "/v1/status", ""); return err == nil })
	if status, _, err := ask(elsewhere, "POST", "/Plugin.Activate", ""); err != nil || status != 200 {
		t.Errorf("%d %v", status, err)
	}
	i.signal(t, unix.SIGTERM)
	if code := i.ended(t); code != 0 || !gone(i.admin) || !gone(i.plugin) || gone(elsewhere) {
		t.Errorf("exit %d, admin, plugin, systemd's gone: %v %v %v", code, gone(i.admin), gone(i.plugin), gone(elsewhere))
	}
}

func TestWrongSocketActivation(t *testing.T) {
	nettest.New(t)
	dir := t.TempDir()
	x, y := systemds(t, dir+"/x.sock"), systemds(t, dir+"/y.sock")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcpFile, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcpFile.Close()
	for _, c := range []struct {
		prepare func(*exec.Cmd)
		want    string
	}{
		{activated("foo", x), "don't know what the socket " + dir + "/x.sock (foo) is for: set FileDescriptorName to plugin or admin"},
		{activated("plugin:plugin", x, y), "two sockets for plugin: " + dir + "/x.sock and " + dir + "/y.sock"},
		{activated("plugin", tcpFile), "plugin listens on " + tcp.Addr().String() + ": want a unix socket"},
	} {
		i := start(t, dir, nil, c.prepare)
		if code, want := i.ended(t), "mybr: socket activation: "+c.want+"\n"; code != exitFailed || !strings.HasSuffix(i.log.String(), want) {
			t.Errorf("exit %d %q, want %q", code, i.log, want)
		}
	}
}
