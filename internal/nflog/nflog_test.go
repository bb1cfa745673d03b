package nflog

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// group is the tests'.
const group = 77

// listen listens in a host's namespace, until the test ends.
func listen(t *testing.T, h *nettest.Host) *Listener {
	t.Helper()
	var l *Listener
	var err error
	h.In(func() { l, err = Listen(group, 64) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// send sends so many datagrams to a port of the host itself, and returns from which.
func send(t *testing.T, h *nettest.Host, to string, times int) netip.AddrPort {
	t.Helper()
	c, err := h.Dial("udp", to, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range times {
		if _, err := c.Write([]byte("x")); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	return netip.MustParseAddrPort(c.LocalAddr().(*net.UDPAddr).String())
}

// Packets of both families are heard of, with where they were sent first, and with the link.
func TestListen(t *testing.T) {
	h := nettest.New(t)
	const rule = "-A INPUT -i lo -p udp -m udp --dport 99 -m conntrack --ctstate NEW -j NFLOG --nflog-group 77 --nflog-prefix told\n"
	for _, command := range []string{"iptables-restore", "ip6tables-restore"} {
		h.Feed("*filter\n"+rule+"COMMIT\n*nat\n-A OUTPUT -o lo -p udp --dport 98 -j REDIRECT --to-ports 99\nCOMMIT\n", command)
	}
	l := listen(t, h)
	if l.NoFlows != nil && !errors.Is(l.NoFlows, unix.EOPNOTSUPP) {
		t.Errorf("without flows: %v", l.NoFlows)
	}
	for _, to := range []string{"127.0.0.1:98", "[::1]:98", "127.0.0.1:99"} {
		from := send(t, h, to, 1)
		var got []Packet
		for len(got) == 0 {
			if err := l.Read(func(p Packet) { got = append(got, p) }); err != nil {
				t.Fatal(err)
			}
		}
		want := Packet{Prefix: "told", Link: 1, Flow: true, From: from, To: netip.MustParseAddrPort(to), Proto: unix.IPPROTO_UDP}
		if l.NoFlows != nil { // by this kernel it is told as it is, and not as it was sent
			want.Flow, want.To = false, netip.AddrPortFrom(want.To.Addr(), 99)
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	h.In(func() {
		if name, err := LinkName(1); name != "lo" || err != nil {
			t.Errorf("link 1 is %q: %v", name, err)
		}
		if name, err := LinkName(4711); !errors.Is(err, unix.ENODEV) {
			t.Errorf("link 4711 is %q: %v", name, err)
		}
		if other, err := Listen(group, 64); !errors.Is(err, unix.EPERM) || Lacking(err) {
			t.Errorf("a second one: %v %v", other, err)
		}
	})
	ended := make(chan error)
	go func() { ended <- l.Read(func(Packet) {}) }()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("the end of who listens: %v", err)
	}
	nettest.Eventually(t, 5*time.Second, func() (err error) { // the socket is closed when it has been read
		h.In(func() {
			var next *Listener
			if next, err = Listen(group, 64); err == nil {
				err = next.Close()
			}
		})
		return err
	})
}

// Who does not read is told that packets are lost, and hears of those that come behind that.
func TestLost(t *testing.T) {
	h := nettest.New(t)
	h.Feed("*filter\n-A INPUT -i lo -p udp -m udp --dport 99:100 -j NFLOG --nflog-group 77\nCOMMIT\n", "iptables-restore")
	l := listen(t, h)
	send(t, h, "127.0.0.1:99", 20000) // each takes some hundred bytes of the socket's buffer
	lost := false
	for deadline := time.Now().Add(10 * time.Second); !lost && time.Now().Before(deadline); {
		err := l.Read(func(Packet) {})
		if lost = errors.Is(err, ErrLost); err != nil && !lost {
			t.Fatal(err)
		}
	}
	if !lost {
		t.Fatal("nothing was lost")
	}
	send(t, h, "127.0.0.1:100", 1)
	for heard := false; !heard; {
		if err := l.Read(func(p Packet) { heard = heard || p.To.Port() == 100 }); err != nil && !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
	}
}

// What the kernel hasn't got is told from what fails for now.
func TestLacking(t *testing.T) {
	for err, want := range map[error]bool{unix.EOPNOTSUPP: true, unix.EINVAL: true, unix.EPROTONOSUPPORT: true, unix.EPERM: false, unix.ENOBUFS: false} {
		if got := Lacking(fmt.Errorf("listen: %w", err)); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}
