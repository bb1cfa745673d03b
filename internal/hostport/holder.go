package hostport

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// holderOf says which program's socket keeps another one from being bound at a host port, as
// "pid 812 (nginx -g daemon off;)". Where the kernel does not let this process see whose the
// socket is, it is "a program of control group /system.slice/nginx.service", or "a socket of
// user 33": without CAP_SYS_PTRACE, the descriptors of other users' processes, and of those with
// more capabilities than this one, can't be read (proc_pid_fd(5)). "" if there is none in the
// kernel's tables.
//
// It reads the descriptors of every process, and is for messages.
func holderOf(proto model.Proto, host netip.AddrPort) string {
	return holderOfAny(socketsAt(proto, host))
}

// holderOfAny names a program that has one of the sockets.
func holderOfAny(sockets []boundSocket) string {
	for _, s := range sockets {
		if name := processWith(fmt.Sprintf("socket:[%d]", s.inode)); name != "" {
			return name
		}
	}
	if len(sockets) == 0 {
		return ""
	}
	first := sockets[0]
	if group := controlGroupOf(first.family, first.protocol, first.inode); group != "" {
		return "a program of control group " + group
	}
	return "a socket of user " + first.uid
}

// A binding that can't be held is tried in every pass, while calls wait. Who has the ports is
// told of the first maxNamed of a plan, and looked for again after knownFor.
const (
	maxNamed = 10
	knownFor = 10 * time.Minute
)

// holders are the programs that were found to have ports.
type holders struct {
	look func([]boundSocket) string

	mu    sync.Mutex
	known map[uint32]holder // by the inode of the likeliest socket
}

type holder struct {
	name  string
	found time.Time
}

// of is holderOf, or what it said of the same socket before.
func (h *holders) of(proto model.Proto, host netip.AddrPort) string {
	sockets := socketsAt(proto, host)
	if len(sockets) == 0 {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.known, func(_ uint32, of holder) bool { return time.Since(of.found) > knownFor })
	of, known := h.known[sockets[0].inode]
	if !known {
		of = holder{h.look(sockets), time.Now()}
		if h.known == nil {
			h.known = map[uint32]holder{}
		}
		h.known[sockets[0].inode] = of
	}
	return of.name
}

// boundSocket is a line of a table of proc_net(5).
type boundSocket struct {
	family, protocol uint8 // AF_INET or AF_INET6, IPPROTO_TCP or IPPROTO_UDP
	uid              string
	inode            uint32
}

// socketsAt lists the sockets that conflict with one at host: TCP's that listen, UDP's that
// are bound. An IPv6 socket at [::] may have the port of IPv4 too (ipv6(7), IPV6_V6ONLY). The
// likeliest are first.
func socketsAt(proto model.Proto, host netip.AddrPort) (found []boundSocket) {
	kind, listens := boundSocket{family: unix.AF_INET, protocol: unix.IPPROTO_TCP}, "0A"
	switch proto {
	case model.TCP:
	case model.UDP:
		kind.protocol, listens = unix.IPPROTO_UDP, "07"
	default:
		return nil
	}
	tables := []string{proto.String(), proto.String() + "6"}
	if !host.Addr().Is4() {
		tables = tables[1:]
	}
	for _, table := range tables {
		if strings.HasSuffix(table, "6") {
			kind.family = unix.AF_INET6
		}
		text, err := os.ReadFile("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line) // number, local address, remote one, state, …, 7: user, 9: inode
			if len(f) < 10 || f[3] != listens {
				continue
			}
			at, err := tableAddr(f[1])
			inode, errInode := strconv.ParseUint(f[9], 10, 32)
			if err != nil || errInode != nil || at.Port() != host.Port() {
				continue
			}
			if at.Addr() == host.Addr() || at.Addr().IsUnspecified() || host.Addr().IsUnspecified() && at.Addr().Is4() == host.Addr().Is4() {
				found = append(found, boundSocket{kind.family, kind.protocol, f[7], uint32(inode)})
			}
		}
	}
	return found
}

// tableAddr reads ADDRESS:PORT of a table: the port in hexadecimal, and the address as 32-bit
// words in hexadecimal, each in the host's byte order (proc_net(5)).
func tableAddr(text string) (netip.AddrPort, error) {
	addr, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(addr)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("address of %q: want words of 32 bits in hexadecimal", text)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port of %q: want a number of 16 bits in hexadecimal", text)
	}
	for word := range slices.Chunk(raw, 4) {
		binary.BigEndian.PutUint32(word, binary.NativeEndian.Uint32(word))
	}
	a, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("address of %q has %d bytes, want 4 or 16", text, len(raw))
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
}

// processWith names a process that has a file open whose link in /proc/PID/fd is target; "" if
// none can be seen.
func processWith(target string) string {
	dirs, err := filepath.Glob("/proc/[0-9]*/fd")
	if err != nil {
		return ""
	}
	for _, dir := range dirs {
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended, or must not be seen
		}
		for _, fd := range fds {
			if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && to == target {
				return commandOf(filepath.Base(filepath.Dir(dir)))
			}
		}
	}
	return ""
}

// longestCommand is how many bytes of a command line are worth showing.
const longestCommand = 80

func commandOf(pid string) string {
	raw, err := os.ReadFile("/proc/" + pid + "/cmdline")
	command := strings.TrimSpace(string(bytes.ReplaceAll(raw, []byte{0}, []byte{' '})))
	if err != nil || command == "" {
		return "pid " + pid
	}
	if len(command) > longestCommand {
		command = strings.ToValidUTF8(command[:longestCommand], "") + "…"
	}
	return fmt.Sprintf("pid %s (%s)", pid, command)
}
