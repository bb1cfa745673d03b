package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

func TestUDPDatagramAfterARefusalIsSent(t *testing.T) {
	nettest.Process(t)
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := server.LocalAddr().(*net.UDPAddr)
	server.Close()
	at := address.AddrPort()
	domain, sa := sockaddr(netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sa); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte("refused")); err != nil { // over lo, the ICMP error is there on return
		t.Fatal(err)
	}
	if server, err = net.ListenPacket("udp4", address.String()); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	b := newBatch()
	b.in[0].n = uint32(copy(b.data, "sent"))
	b.send(fd, 0, 1, nil)
	_ = server.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 10)
	n, _, err := server.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "sent" {
		t.Errorf("%q %v", buf[:n], err)
	}
}

// A client whose datagrams are never answered is not idle.
func TestUDPRemembersClientsThatOnlySend(t *testing.T) {
	host, container := withContainer(t)
	server := container.ListenPacket("udp4", "0.0.0.0:53")
	r := start(t, Config{UDPTimeout: time.Second})
	serve(t, r, "udp", 5353, 53)
	c := client(t, host, "127.0.0.1:5353")
	_ = server.SetReadDeadline(time.Now().Add(patience))
	seen := map[string]bool{}
	for until := time.Now().Add(1500 * time.Millisecond); time.Now().Before(until); {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_, from, err := server.ReadFrom(make([]byte, 10))
		if err != nil {
			t.Fatal(err)
		}
		seen[from.String()] = true
	}
	if len(seen) != 1 {
		t.Errorf("the container saw the client as %v", seen)
	}
}
