package hostport

import (
	"bufio"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From the kernel's uapi: include/uapi/linux/inet_diag.h.
const (
	sizeofInetDiagRequest = 56 // struct inet_diag_req_v2
	sizeofInetDiagMsg     = 72 // struct inet_diag_msg
	inodeInInetDiagMsg    = 68
	inetDiagCgroupID      = 21 // INET_DIAG_CGROUP_ID, since Linux 5.8
)

// controlGroupOf returns the control group that the process was in which made a socket, as
// "/system.slice/nginx.service" (cgroups(7), version 2): the kernel tells that to anybody, and
// systemd has one for each service. "" if it is not known, or the root.
func controlGroupOf(family, protocol uint8, inode uint32) string {
	id, ok := controlGroupID(family, protocol, inode)
	mount := controlGroupMount()
	if !ok || mount == "" {
		return ""
	}
	found := ""
	err := filepath.WalkDir(mount, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil // it has just gone
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Ino == id { // the id is the directory's inode (cgroup_id in kernfs)
			found = strings.TrimPrefix(path, mount)
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return found
}

// diagnose lists those that have a port for themselves, TCP's that listen and UDP's that are
// not connected, as struct inet_diag_msg and its attributes (sock_diag(7)).
func diagnose(family, protocol uint8) ([][]byte, error) {
	state := unix.BPF_TCP_LISTEN
	if protocol == unix.IPPROTO_UDP {
		state = unix.BPF_TCP_CLOSE
	}
	request := make([]byte, sizeofInetDiagRequest)
	request[0], request[1] = family, protocol
	binary.NativeEndian.PutUint32(request[4:], 1<<state)
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddRawData(request)
	return req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
}

// controlGroupID asks the kernel for the group of a socket.
func controlGroupID(family, protocol uint8, inode uint32) (id uint64, ok bool) {
	messages, err := diagnose(family, protocol)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if len(m) < sizeofInetDiagMsg || binary.NativeEndian.Uint32(m[inodeInInetDiagMsg:]) != inode {
			continue
		}
		attributes, err := nl.ParseRouteAttr(m[sizeofInetDiagMsg:])
		if err != nil {
			return 0, false
		}
		for _, a := range attributes {
			if a.Attr.Type == inetDiagCgroupID && len(a.Value) == 8 {
				return binary.NativeEndian.Uint64(a.Value), true
			}
		}
	}
	return 0, false
}

// controlGroupMount is where the control groups of version 2 are mounted; "": nowhere.
func controlGroupMount() string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// proc_pid_mountinfo(5): 5 is where, and the type follows a lone hyphen.
		before, after, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(before); len(fields) > 4 && strings.HasPrefix(after, "cgroup2 ") {
			return fields[4]
		}
	}
	return ""
}
