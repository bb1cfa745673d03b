package doctor

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// This file is about processes and their sockets, from /proc (proc(5)).

// socket is one that has a port for itself.
type socket struct {
	proto string // "tcp" or "udp"
	at    netip.AddrPort
	inode uint64
}

// procs says which process has a socket, as far as that may be seen.
type procs struct{ byInode map[uint64]int }

// ofThread is where the files of the calling thread's network namespace are.
const ofThread = "/proc/thread-self/net/"

// listening lists the sockets of the namespace that listen: TCP's, and UDP's that are bound.
func (l *look) listening() ([]socket, error) {
	return l.sockets.get(func() (all []socket, err error) {
		for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
			text, err := l.read(ofThread + file)
			if os.IsNotExist(err) { // a kernel without IPv6
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, parseSockets(text, strings.TrimSuffix(file, "6"))...)
		}
		return all, nil
	})
}

// States of sockets in /proc/net/tcp and udp (the kernel's net/tcp_states.h).
const (
	stateListen = "0A"
	stateClose  = "07" // of UDP: not connected
)

func parseSockets(text, proto string) (all []socket) {
	state := map[string]string{"tcp": stateListen, "udp": stateClose}[proto]
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != state {
			continue
		}
		at, ok := parseHexAddr(f[1])
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if ok && err == nil {
			all = append(all, socket{proto: proto, at: at, inode: inode})
		}
	}
	return all
}

// parseHexAddr reads ADDRESS:PORT: the address is in words of the machine's byte order, which is
// little endian wherever mybr is built for.
func parseHexAddr(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), ok
}

// holders says which process has which socket.
func (l *look) holders() (procs, error) {
	return l.proc.get(func() (procs, error) {
		p := procs{map[uint64]int{}}
		entries, err := os.ReadDir(l.path("/proc"))
		if err != nil {
			return p, err
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			dir := l.path(fmt.Sprintf("/proc/%d/fd", pid))
			files, err := os.ReadDir(dir)
			if err != nil { // it has just ended, or may not be looked at
				continue
			}
			for _, file := range files {
				to, err := os.Readlink(dir + "/" + file.Name())
				if text, ok := strings.CutPrefix(to, "socket:["); err == nil && ok {
					inode, _ := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
					p.byInode[inode] = pid
				}
			}
		}
		return p, nil
	})
}

// command is what a process was started with; nil if that can't be seen.
func (e Env) command(pid int) []string {
	text, err := os.ReadFile(e.path(fmt.Sprintf("/proc/%d/cmdline", pid)))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// settings are the variables of a process that are mybr's settings.
func (e Env) settings(pid int) (all []string) {
	text, err := os.ReadFile(e.path(fmt.Sprintf("/proc/%d/environ", pid)))
	if err != nil {
		return nil
	}
	for _, v := range strings.Split(string(text), "\x00") {
		if strings.HasPrefix(v, "MYBR_") && !strings.HasPrefix(v, "MYBR_TEST") {
			all = append(all, v)
		}
	}
	return all
}

// named is "pid 12 (nginx: master process)".
func (e Env) named(pid int) string {
	if words := e.command(pid); words != nil {
		return fmt.Sprintf("pid %d (%s)", pid, short60(strings.Join(words, " ")))
	}
	return fmt.Sprintf("pid %d", pid)
}

// short60 is the beginning of a command line.
func short60(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// unit is the systemd service that a process is of; "": none.
func (e Env) unit(pid int) string {
	text, _ := e.read(fmt.Sprintf("/proc/%d/cgroup", pid)) // a process that has ended is of none
	for line := range strings.Lines(text) {
		for _, part := range strings.Split(strings.TrimSpace(line), "/") {
			if strings.HasSuffix(part, ".service") {
				return part
			}
		}
	}
	return ""
}

// lockHolder is who has the lock.
func (l *look) lockHolder() (Holder, error) {
	return l.lock.get(func() (Holder, error) {
		if l.Lock == nil {
			return Holder{}, errNotAsked
		}
		return l.Lock(l.ctx)
	})
}

// comm is the name of a process; "": it has ended.
func (e Env) comm(pid string) string {
	stat, err := e.read("/proc/" + pid + "/stat")
	if end := strings.LastIndexByte(stat, ')'); err != nil || end < 0 || strings.HasPrefix(stat[end:], ") Z") {
		return ""
	}
	name, _ := e.read("/proc/" + pid + "/comm") // "": it has just ended
	return name
}

// stop is the command that ends a process, by its unit if that is there for it: an engine and a
// user's session have other processes too, and those would end with it.
func (e Env) stop(pid string) []string {
	n, _ := strconv.Atoi(pid) // it is of digits
	shared := func(unit string) bool {
		return strings.HasPrefix(unit, "user@") || slices.Contains([]string{"docker.service", "containerd.service", "podman.service"}, unit)
	}
	if unit := e.unit(n); unit != "" && !shared(unit) {
		if _, err := e.stat("/run/systemd/system"); err == nil {
			return command("systemctl", "stop", unit)
		}
	}
	return command("kill", pid)
}
