package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/nettest"
)

// Processes that come and go with namespaces of their own leave nothing unread.
func TestProcessesThatEnd(t *testing.T) {
	nettest.New(t)
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for range 2 {
		churn.Add(1)
		go func() {
			defer churn.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				cmd := exec.Command("sleep", "0.02")
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
				if err := cmd.Run(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	seen := 0
	for range 20 {
		all, err := Namespaces(nil)
		if err != nil {
			t.Fatal(err)
		}
		places := []Place{{Name: HostName}}
		for _, p := range all {
			if strings.HasSuffix(p.Name, " (sleep)") {
				places = append(places, p)
			}
		}
		seen += len(places) - 1
		w, there, err := Read(places)
		if err != nil || len(w.Unread) > 0 || len(there) != len(w.Spaces) {
			t.Fatalf("%v, unread: %q", err, w.Unread)
		}
	}
	close(stop)
	churn.Wait()
	if seen == 0 {
		t.Error("no process was ever seen")
	}
}

// A namespace outlives the process that it was found by, and the number of that may be
// another's.
func TestPlaceOfEndedProcess(t *testing.T) {
	_, peer, places := twoHosts(t, "192.0.2.1/24", "192.0.2.2/24")
	process := func() *exec.Cmd {
		cmd := exec.Command("sleep", "1000")
		peer.In(func() {
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
		})
		return cmd
	}
	end := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	one, two := process(), process()
	path := func(cmd *exec.Cmd) string { return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid) }
	n, err := inode(path(one))
	if err != nil {
		t.Fatal(err)
	}
	found := Place{Name: "peer", Path: path(one), others: []string{path(two)}, inode: n}
	end(one)
	w, there, err := Read([]Place{places[0], found})
	if err != nil || len(there) != 2 || w.Spaces[0].Peers[peerID(w)] != "peer" {
		t.Errorf("by the other process: %v %+v", err, there)
	}
	found.Path = "/proc/self/ns/net" // as if another process had the number
	if w, there, err := Read([]Place{places[0], found}); err != nil || len(there) != 2 || w.Spaces[0].Peers[peerID(w)] != "peer" {
		t.Errorf("with the number of another one: %v %+v", err, there)
	}
	end(two)
	if _, err := found.open(); !errors.Is(err, errEnded) {
		t.Errorf("without any: %v", err)
	}
	if w, there, err := Read([]Place{places[0], found}); err != nil || len(there) != 1 || len(w.Unread) > 0 {
		t.Errorf("without any: %v %+v %q", err, there, w.Unread)
	}
}

// peerID is the ID that the host has for the namespace of eth0's other end.
func peerID(w *explain.World) int { return w.Spaces[0].Links[len(w.Spaces[0].Links)-1].PeerSpace }

// Of a process that has ended and that nobody has waited for there is no namespace.
func TestZombieHasEnded(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := Place{Path: fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), spare: true}
	nettest.Eventually(t, 10e9, func() error {
		if _, err := os.Readlink(p.Path); err == nil {
			return errors.New("it has not ended")
		}
		return nil
	})
	if _, err := p.open(); !errors.Is(err, errEnded) {
		t.Errorf("%v", err)
	}
	_ = cmd.Wait() // it has ended
}
