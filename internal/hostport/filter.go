package hostport

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// indexes returns the interface indexes of links, sorted. A link that is not there has
// none: it is looked for again by the next Plan.
//
// It asks for each by ioctl(2) (netdevice(7)): the net package would list all links.
func indexes(links []string) ([]uint32, error) {
	if len(links) == 0 {
		return nil, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	var all []uint32
	for _, link := range links {
		ifr, err := unix.NewIfreq(link)
		if err == nil {
			err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
		}
		switch {
		case err == nil:
			all = append(all, ifr.Uint32())
		case !errors.Is(err, unix.ENODEV):
			return nil, fmt.Errorf("find link %s: %w", link, err)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// ancillary is where a program finds what is not of the packet: SKF_AD_OFF of linux/filter.h.
const ancillary = 1<<32 - 0x1000

// byFamily has one program for IPv4, and another one for what is left.
func byFamily(v4, v6 []unix.SockFilter) []unix.SockFilter {
	return slices.Concat([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: ancillary}, // SKF_AD_PROTOCOL
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(v4))},
	}, v4, v6)
}

// dropFrom is a program that drops what came by links with some indexes, and does with the rest
// what another one says. What comes by a port of a bridge comes by the bridge.
//
// A link costs one instruction, of the kernel's own as well (8 bytes), which it charges to the
// socket up to net.core.optmem_max (sk_filter_charge of net/core/filter.c): 20480 bytes before
// Linux 6.8. Two programs are charged while one takes the place of another.
func dropFrom(links []uint32, rest ...unix.SockFilter) []unix.SockFilter {
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: ancillary + 8}} // SKF_AD_IFINDEX
	for some := range slices.Chunk(links, 1<<8) {                                                   // so far a jump leads
		last := len(some) - 1
		for i, index := range some {
			one := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: index, Jt: uint8(last - i)}
			if i == last {
				one.Jf = 1
			}
			program = append(program, one)
		}
		program = append(program, dropAll()...)
	}
	return append(program, rest...)
}

// acceptAll is the program of one instruction that keeps every packet whole.
func acceptAll() []unix.SockFilter {
	return []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1}}
}

// dropAll is the program of one instruction that keeps 0 bytes of every packet.
func dropAll() []unix.SockFilter {
	return []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
}

// attachFilter puts a classic BPF program in front of the socket (filter.rst), in place
// of the one that is there.
func attachFilter(fd int, program []unix.SockFilter) error {
	if len(program) > unix.BPF_MAXINSNS {
		return os.NewSyscallError("setsockopt", unix.E2BIG)
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
}

// detachFilter lets everything in. A socket without a filter is fine.
func detachFilter(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return os.NewSyscallError("setsockopt", err)
}
