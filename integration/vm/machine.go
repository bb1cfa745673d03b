// Package vm boots Debian with Docker and mybr's own package in a virtual machine, for what
// needs a kernel and a systemd of its own: reboots, power cuts, the sandbox of the unit.
//
// The machine is emulated in software (qemu, TCG), so that it runs where there is no
// hardware for it; a boot takes half a minute to two. Its Debian comes from debootstrap,
// once, and stays below build. An agent in it runs what the tests ask: see package wire.
package vm

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/vm/wire"
)

// Limits, not waits: an emulated machine on two busy processors.
const (
	bootTimeout    = 10 * time.Minute
	commandTimeout = 4 * time.Minute
)

// machine is a virtual machine of one disk, which outlives its boots.
type machine struct {
	t   *testing.T
	dir string // has disk, kernel and initrd, and gets console, the serial port's output

	qemu  *exec.Cmd
	ended chan struct{} // closed when qemu has ended
	conn  net.Conn
	hello chan string // boot IDs, as the agent says them

	mu      sync.Mutex
	last    int64 // ID of a command
	waiting map[int64]chan *wire.Outcome
}

// start turns the machine on and returns its boot ID when the agent runs.
func (m *machine) start() string {
	m.t.Helper()
	path := filepath.Join(m.dir, "agent.sock")
	log, err := os.OpenFile(filepath.Join(m.dir, "qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	m.qemu = exec.Command("qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-cpu", "max", "-smp", "1", "-m", "1024",
		"-accel", "tcg,thread=multi",
		"-kernel", "kernel", "-initrd", "initrd", "-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 loglevel=5",
		"-drive", "file=disk,if=virtio,format=raw", // what the guest has not synced is lost with qemu
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng,rng=rng",
		"-chardev", "file,id=console,path=console,append=on", "-serial", "chardev:console",
		"-device", "virtio-serial", "-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off",
		"-device", "virtserialport,chardev=agent,name="+wire.Port,
	)
	m.qemu.Dir, m.qemu.Stdout, m.qemu.Stderr = m.dir, log, log
	m.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.ended, m.hello, m.waiting = make(chan struct{}), make(chan string, 8), map[int64]chan *wire.Outcome{}
	if err := m.launch(); err != nil {
		m.t.Fatalf("start qemu: %v", err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if m.conn, err = net.Dial("unix", path); err == nil {
			break
		}
		select {
		case <-m.ended:
			m.t.Fatalf("qemu ended by itself: %v", m.qemu.ProcessState)
		default:
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("connect to qemu: %v", err)
		}
	}
	go m.read(m.conn, m.hello)
	return m.booted()
}

// launch starts qemu so that it ends with this process: on a thread that lasts as long as
// qemu does (prctl(2), PR_SET_PDEATHSIG).
func (m *machine) launch() error {
	started := make(chan error)
	cmd, ended := m.qemu, m.ended
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its ProcessState
		}
		close(ended)
	}()
	return <-started
}

// booted waits for the next hello of the agent and returns the boot ID.
func (m *machine) booted() string {
	m.t.Helper()
	select {
	case id := <-m.hello:
		return id
	case <-m.ended:
		m.t.Fatalf("qemu ended by itself: %v", m.qemu.ProcessState)
	case <-time.After(bootTimeout):
		m.t.Fatalf("the machine has not booted in %v", bootTimeout)
	}
	return ""
}

// read takes what the agent says until the connection ends.
func (m *machine) read(conn net.Conn, hello chan<- string) {
	in := bufio.NewScanner(conn)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var message wire.Message
		if err := json.Unmarshal(in.Bytes(), &message); err != nil {
			continue // a line that a reboot has cut
		}
		if message.Hello != nil {
			hello <- message.Hello.Boot
		}
		if message.Outcome != nil {
			m.mu.Lock()
			to := m.waiting[message.Outcome.ID]
			delete(m.waiting, message.Outcome.ID)
			m.mu.Unlock()
			if to != nil {
				to <- message.Outcome
			}
		}
	}
}

// send has the agent start a command, and returns where its outcome arrives.
func (m *machine) send(input []byte, argv ...string) <-chan *wire.Outcome {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	outcome := make(chan *wire.Outcome, 1)
	m.waiting[m.last] = outcome
	if err := json.NewEncoder(m.conn).Encode(wire.Command{ID: m.last, Argv: argv, Input: input}); err != nil {
		m.t.Fatalf("send %q: %v", argv, err)
	}
	return outcome
}

// try runs a command in the machine.
func (m *machine) try(argv ...string) *wire.Outcome {
	m.t.Helper()
	return m.wait(m.send(nil, argv...), argv)
}

func (m *machine) wait(outcome <-chan *wire.Outcome, argv []string) *wire.Outcome {
	m.t.Helper()
	select {
	case o := <-outcome:
		return o
	case <-m.ended:
		m.t.Fatalf("%q: qemu ended by itself", argv)
	case <-time.After(commandTimeout):
		m.t.Fatalf("%q has not ended in %v", argv, commandTimeout)
	}
	return nil
}

// run runs a command that has to succeed and returns what it says, without the last line
// feed.
func (m *machine) run(argv ...string) string {
	m.t.Helper()
	o := m.try(argv...)
	if o.Code != 0 {
		m.t.Fatalf("%q: exit code %d\n%s%s", argv, o.Code, o.Output, o.Errors)
	}
	return strings.TrimSpace(o.Output)
}

// sh is run of a shell script.
func (m *machine) sh(script string) string { m.t.Helper(); return m.run("sh", "-ec", script) }

// eventually runs a command until it succeeds, and fails the test with its last error
// after the timeout of commands.
func (m *machine) eventually(argv ...string) string {
	m.t.Helper()
	for deadline := time.Now().Add(commandTimeout); ; time.Sleep(500 * time.Millisecond) {
		o := m.try(argv...)
		if o.Code == 0 {
			return strings.TrimSpace(o.Output)
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%q: exit code %d\n%s%s", argv, o.Code, o.Output, o.Errors)
		}
	}
}

// reboot asks systemd to reboot, which ends the agent before or after it has answered, and
// returns the next boot's ID when the agent runs.
func (m *machine) reboot() string {
	m.t.Helper()
	m.send(nil, "systemctl", "reboot")
	return m.booted()
}

// cut ends the machine as a power cut does: what it has not synced is lost.
func (m *machine) cut() {
	m.t.Helper()
	if err := m.qemu.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.t.Fatalf("end qemu: %v", err)
	}
	<-m.ended
	m.conn.Close()
}

// show logs what tells of a failure: the end of the journal, if the machine still answers,
// and that of the serial console.
func (m *machine) show() {
	argv := []string{"journalctl", "-b", "-n", "150", "--no-pager", "-u", "mybr", "-u", "docker", "-u", "init.scope"}
	select {
	case o := <-m.send(nil, argv...):
		m.t.Logf("journal:\n%s", o.Output)
	case <-m.ended:
	case <-time.After(time.Minute):
		m.t.Log("the machine does not answer")
	}
	text, err := os.ReadFile(filepath.Join(m.dir, "console"))
	m.t.Logf("console: %v\n%s", err, text[max(0, len(text)-6000):])
}
