package hostport

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// linksKnownFor is how long the names of interfaces are remembered: an interface that takes the name
// of another one is known by it after that.
const linksKnownFor = time.Second

// links are the host's interfaces, by their indexes.
type links struct {
	mu  sync.Mutex
	all map[uint32]knownLink
}

type knownLink struct {
	name string
	at   time.Time
}

// name is that of the interface with an index; "": there is none, or it can't be told.
func (l *links) name(index uint32) string {
	if index == 0 {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.all[index]; ok && time.Since(known.at) < linksKnownFor {
		return known.name
	}
	known := knownLink{linkName(index), time.Now()}
	if l.all == nil || len(l.all) > mostLinks {
		l.all = map[uint32]knownLink{} // those that are gone are forgotten
	}
	l.all[index] = known
	return known.name
}

// mostLinks is how many names are remembered.
const mostLinks = 1024

// linkName asks for one name by ioctl(2) (netdevice(7)): the net package would list all links.
func linkName(index uint32) string {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return ""
	}
	ifr.SetUint32(index)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifr); err != nil {
		return ""
	}
	return ifr.Name()
}
