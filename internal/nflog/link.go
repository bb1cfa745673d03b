package nflog

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// LinkName is the name of the link of an index, in the network namespace of the calling thread. It
// costs the same with any number of links (netdevice(7), SIOCGIFNAME).
func LinkName(index int) (name string, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("name of link %d: %w", index, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	r, err := unix.NewIfreq("lo") // which the kernel writes over
	if err != nil {
		return "", err
	}
	r.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, r); err != nil {
		return "", fmt.Errorf("name of link %d: %w", index, err)
	}
	return r.Name(), nil
}
