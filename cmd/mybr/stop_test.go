package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// slowFirewall makes a folder with an iptables whose -restore, as soon as the file
// `hold` is there, says so with a file `held` and waits for the file `go` (or the end
// of the test, when the folder goes).
func slowFirewall(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore"} {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		script := "#!/bin/sh\n"
		if name == "iptables-restore" {
			script += `if [ -e DIR/hold ]; then : > DIR/held; while [ -e DIR/hold ] && [ ! -e DIR/go ]; do sleep 0.02; done; fi` + "\n"
		}
		script += `exec ` + real + ` "$@"` + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(script, "DIR", dir)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// held starts an instance with a call under way that lasts until the file `go` is
// there.
func held(t *testing.T) (i *instance, answered chan string, firewall string) {
	t.Helper()
	firewall = slowFirewall(t)
	i = up(t, t.TempDir(), nil, func(c *exec.Cmd) {
		c.Env = append(c.Env, "PATH="+firewall+":"+os.Getenv("PATH"))
	})
	waitFor(t, func() bool {
		_, s, _ := ask(i.admin, "GET", "/v1/status", "")
		return strings.Contains(s, `"ready":true`)
	})
	touch(t, firewall+"/hold")
	answered = make(chan string, 1)
	go func() {
		status, answer, err := i.call("/NetworkDriver.CreateNetwork", createBody)
		answered <- fmt.Sprint(status, answer, err)
	}()
	waitFor(t, func() bool { return !gone(firewall + "/held") })
	return i, answered, firewall
}

// SIGTERM lets a call that is under way end, and takes no new ones.
func TestDrain(t *testing.T) {
	nettest.New(t)
	i, answered, firewall := held(t)
	i.signal(t, unix.SIGTERM)
	waitFor(t, func() bool { return gone(i.plugin) && gone(i.admin) })
	if _, _, err := i.call("/Plugin.Activate", ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a new call: %v", err)
	}
	select {
	case <-i.done:
		t.Fatal("ended with a call under way")
	case a := <-answered:
		t.Fatalf("answered before its time: %s", a)
	default:
	}
	touch(t, firewall+"/go")
	if a := <-answered; a != "200{}<nil>" {
		t.Errorf("the call under way: %s", a)
	}
	if code := i.ended(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if err := exec.Command("ip", "link", "show", "mybr0").Run(); err != nil {
		t.Error("the call was answered, but the bridge is not there")
	}
}

// A second signal ends the process without waiting for calls.
func TestSecondSignal(t *testing.T) {
	nettest.New(t)
	i, _, firewall := held(t)
	defer touch(t, firewall+"/go") // for the child that was left
	i.signal(t, unix.SIGTERM)
	waitFor(t, func() bool { return gone(i.plugin) })
	i.signal(t, unix.SIGTERM)
	if code := i.ended(t); code != 128+int(unix.SIGTERM) {
		t.Errorf("exit %d", code)
	}
}

// mybr goes on when the reader of its log has gone.
func TestBrokenLog(t *testing.T) {
	nettest.New(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	i := up(t, t.TempDir(), nil, func(c *exec.Cmd) { c.Stdout, c.Stderr = w, w })
	w.Close()
	r.Close()
	for range 3 {
		i.must(t, "/Plugin.Activate", "")
	}
	i.signal(t, unix.SIGTERM)
	if code := i.ended(t); code != 0 || !gone(i.plugin) {
		t.Errorf("exit %d, socket gone: %v", code, gone(i.plugin))
	}
}
