package hostport

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// indexes returns the numbers of links, sorted. A link that is not there has none: it is
// looked for again by the next Apply.
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

// admit lets in what arrives, save by the links with some indexes. What is sent to a
// loopback address comes by lo alone.
func (s *socket) admit(shun []uint32) error {
	err := withFD(s.conn, func(fd int) error {
		if len(shun) == 0 || s.host.Addr().IsLoopback() {
			return detachFilter(fd)
		}
		return attachFilter(fd, without(shun))
	})
	if err == nil {
		s.shun = shun
	}
	return err
}

// without is a program that keeps every packet whole, except those that came by links
// with some indexes: to a port of a bridge is by the bridge.
func without(links []uint32) []unix.SockFilter {
	const link = 1<<32 - 0x1000 + 8 // the number of the link: SKF_AD_OFF + SKF_AD_IFINDEX of linux/filter.h
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: link}}
	for _, index := range links {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: index, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1})
}
