package world

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// boot is one run of a world's host, from process 1's start to its end.
type boot struct {
	pid        int
	stdin      io.Closer
	ended      chan struct{}
	pidns, mnt *os.File
	net        *os.File
	handle     *netlink.Handle
}

func newBoot(dir, root string) (*boot, error) {
	log, err := os.OpenFile(filepath.Join(dir, "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+roleInit, roleArg+"="+dir, roleRoot+"="+root)
	cmd.Dir = "/"
	cmd.Stderr = log
	cmd.SysProcAttr = dieWithParent(unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS)
	b := &boot{ended: make(chan struct{})}
	if b.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // see dieWithParent
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Process.Wait()
		}
		close(b.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start process 1: %w", err)
	}
	b.pid = cmd.Process.Pid
	defer stdout.Close()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		b.end()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("process 1: %q, %w: %s", line, err, text)
	}
	return b, b.open()
}

func (b *boot) open() (err error) {
	for kind, file := range map[string]**os.File{"pid": &b.pidns, "mnt": &b.mnt, "net": &b.net} {
		if *file, err = os.Open(fmt.Sprintf("/proc/%d/ns/%s", b.pid, kind)); err != nil {
			return err
		}
	}
	if b.handle, err = netlink.NewHandleAt(netns.NsHandle(b.net.Fd())); err != nil {
		return err
	}
	lo, err := b.handle.LinkByName("lo")
	if err != nil {
		return err
	}
	return b.handle.LinkSetUp(lo)
}

// root is the world's root directory as the test process reaches it. Absolute symbolic
// links below it are the caller's to mind: they lead to the machine's files.
func (b *boot) root() string { return fmt.Sprintf("/proc/%d/root", b.pid) }

// end ends every process of the world, at once, and returns when all have ended.
func (b *boot) end() {
	unix.Kill(b.pid, unix.SIGKILL)
	<-b.ended
	b.stdin.Close()
	if b.handle != nil {
		b.handle.Close()
	}
	for _, f := range []*os.File{b.pidns, b.mnt, b.net} {
		if f != nil {
			f.Close()
		}
	}
}

// start starts a command in the world, in one of its network namespaces.
func (b *boot) start(cmd *exec.Cmd, net *os.File) error {
	cmd.Dir = "/"
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(2) asks for it before a mount namespace
			return fmt.Errorf("unshare: %w", err)
		}
		for _, ns := range []struct {
			file *os.File
			kind int
		}{{b.pidns, unix.CLONE_NEWPID}, {b.mnt, unix.CLONE_NEWNS}, {net, unix.CLONE_NEWNET}} {
			if err := unix.Setns(int(ns.file.Fd()), ns.kind); err != nil {
				return fmt.Errorf("setns: %w", err)
			}
		}
		return cmd.Start()
	})
}

// onThread runs f on a thread that is thrown away after it, so that f may change the
// thread's namespaces.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// daemon is a long-running process of the world.
type daemon struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// daemon starts a process whose output goes to NAME.log in the world's directory. The files
// are its descriptors from 3 on.
func (w *World) daemon(name string, env []string, files []*os.File, argv ...string) (*daemon, error) {
	path, err := w.lookPath(argv[0])
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(w.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d := &daemon{name: name, cmd: exec.Command(path, argv[1:]...), ended: make(chan struct{})}
	d.cmd.Env = append(w.env(), env...)
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.ExtraFiles = log, log, files
	if err := w.boot.start(d.cmd, w.boot.net); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { d.cmd.Wait(); close(d.ended) }()
	return d, nil
}

// stop sends a signal and waits for the end.
func (d *daemon) stop(sig syscall.Signal) error {
	if d == nil {
		return nil
	}
	if err := d.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("stop %s: %w", d.name, err)
	}
	return poll(stopTimeout, func() error {
		select {
		case <-d.ended:
			return nil
		default:
			return fmt.Errorf("%s has not ended after %v", d.name, sig)
		}
	})
}
