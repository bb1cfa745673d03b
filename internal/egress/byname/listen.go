package byname

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// Where ports are looked for first. The kernel gives none of these to others by itself: they are
// behind net.ipv4.ip_local_port_range (32768 to 60999, ip-sysctl), from which Docker takes the
// ports that it chooses, too.
const (
	firstDNS = 61053
	firstTCP = 61443
	among    = 64
)

// sockets listen at each of the host's addresses, of both families where the host has both.
type sockets struct {
	packets *net.UDPConn
	queries *net.TCPListener
	carried *net.TCPListener
}

func (s *sockets) close() {
	s.packets.Close()
	s.queries.Close()
	s.carried.Close()
}

// ports are those of the sockets.
func (s *sockets) ports() Ports {
	return Ports{DNS: portOf(s.queries.Addr()), TCP: portOf(s.carried.Addr())}
}

func portOf(a net.Addr) uint16 {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Port()
	}
	return 0
}

// listen listens at the ports that are recorded, and at others where those are in use.
func listen(recorded Ports) (*sockets, error) {
	var s sockets
	err := firstFree(recorded.DNS, firstDNS, func(port uint16) (err error) {
		if s.queries, err = listenTCP(port); err != nil {
			return err
		}
		if s.packets, err = listenUDP(port); err != nil {
			s.queries.Close()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("for DNS: %w", err)
	}
	err = firstFree(recorded.TCP, firstTCP, func(port uint16) (err error) {
		s.carried, err = listenTCP(port)
		return err
	})
	if err != nil {
		s.queries.Close()
		s.packets.Close()
		return nil, fmt.Errorf("for connections: %w", err)
	}
	return &s, nil
}

// firstFree tries a recorded port, if there is one, and then some in a row, until one is not in
// use.
func firstFree(recorded, first uint16, try func(port uint16) error) error {
	if recorded != 0 {
		if err := try(recorded); !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	for port := first; port < first+among; port++ {
		if err := try(port); !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	return fmt.Errorf("the ports %d to %d are all in use", first, first+among-1)
}

// listenTCP listens for plain TCP: of a connection of Multipath TCP the kernel doesn't tell where
// it was meant to go (carry.Serve).
func listenTCP(port uint16) (*net.TCPListener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	l, err := c.Listen(context.Background(), "tcp", net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

func listenUDP(port uint16) (*net.UDPConn, error) {
	return net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
}
