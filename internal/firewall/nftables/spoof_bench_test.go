package nftables

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/spoof"
)

// What a small UDP packet costs from its sendto(2) to the receiver's socket, all on one processor:
// between containers, and to a host of the LAN; without the table, as a port that is checked, as
// one that isn't beside one that is, and as one of a thousand; with a list of what containers may
// begin to each other, and as one of a thousand on twenty networks with such lists. They take turns,
// and the medians of their slices count.
//
//	go test ./internal/firewall/nftables -run '^$' -bench SpoofPath -benchtime 40x
func BenchmarkSpoofPath(b *testing.B) {
	_, eve, ben, lan := benchHosts(b)
	receiver := map[string]string{"between": ben.Echo("udp", bensAddr+":0").String(), "lan": lan.Echo("udp", "192.0.2.9:0").String()}
	fds := map[string]int{}
	for path, to := range receiver {
		if _, err := eve.Ask("udp", to, 3*time.Second); err != nil { // neighbours are known then
			b.Fatal(err)
		}
		at := netip.MustParseAddrPort(to)
		in := map[string]*nettest.Host{"between": ben, "lan": lan}[path]
		fds[path] = sink(b, eve, in, at.Addr())
	}
	mine := evesPort(model.Spoof{})
	other := mine
	other.Link = "vethother"
	variants := []struct {
		name string
		set  spoof.Set
	}{{"none", spoof.Set{}}, {"checked", spoof.Set{Ports: []spoof.Port{mine}}}, {"beside", spoof.Set{Ports: []spoof.Port{other}}}, {"of-1000", ofThousand()},
		{"listed", iccSet(b, "web>db:1-65535/udp", "web", "db")}, {"listed-of-1000", crowded(b)}}
	s := NewSpoof(b.Errorf)
	defer s.Close()
	took := map[string][]float64{}
	const packets = 10000
	for b.Loop() {
		for _, v := range variants {
			if err := s.Apply(context.Background(), nil, v.set); err != nil {
				b.Fatal(err)
			}
			for path, fd := range fds {
				begun := time.Now()
				for range packets {
					if _, err := unix.Write(fd, []byte("0123456789abcdef")); err != nil {
						b.Fatal(err)
					}
				}
				key := path + "-" + v.name
				took[key] = append(took[key], float64(time.Since(begun).Nanoseconds())/packets)
			}
		}
	}
	for key, all := range took {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], key+"-ns/packet")
	}
	if all, _, err := s.Refused(context.Background()); err != nil || all["vetheve"] > 0 {
		b.Errorf("%d packets were refused: %v", all["vetheve"], err)
	}
}

// benchHosts are a host with a bridge that eve and ben are on, and with a link to the LAN.
func benchHosts(b *testing.B) (h, eve, ben, lan *nettest.Host) {
	h = nettest.New(b)
	eve, ben, lan = h.Peer("eve"), h.Peer("ben"), h.Peer("lan")
	h.Run("sh", "-c", "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done")
	h.Run("ip", "link", "add", "br9", "address", macHost.String(), "type", "bridge")
	h.Run("ip", "link", "set", "br9", "up")
	h.Address("br9", gateway+"/24")
	h.Connect(nettest.End{Name: "vetheve", Master: "br9"}, eve, nettest.End{Name: "eth0", MAC: macEve.String(), Addresses: []string{evesAddr + "/24"}})
	h.Connect(nettest.End{Name: "vethben", Master: "br9"}, ben, nettest.End{Name: "eth0", MAC: macBen.String(), Addresses: []string{bensAddr + "/24"}})
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{"192.0.2.1/24"}}, lan, nettest.End{Name: "eth0", Addresses: []string{"192.0.2.9/24"}})
	h.Sysctl("net/ipv4/ip_forward", "1")
	eve.Route("0.0.0.0/0", gateway)
	lan.Route("0.0.0.0/0", "192.0.2.1")
	return h, eve, ben, lan
}

// ofThousand is eve among 999 others on the bridge.
func ofThousand() spoof.Set {
	many := spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}}
	for i := range 999 {
		many.Ports = append(many.Ports, spoof.Port{Link: fmt.Sprintf("vethx%04d", i), Bridge: "br9", MAC: model.MAC{2, 9, 0, 0, byte(i >> 8), byte(i)}, V4: netip.AddrFrom4([4]byte{10, 9, byte(1 + i>>8), byte(i)})})
	}
	slices.SortFunc(many.Ports, func(a, b spoof.Port) int { return spoof.Compare(&a, &b) })
	return many
}

// What applications see of the check: how long a TCP request of 64 bytes and its answer take, and
// how long 64 MiB of a TCP stream, which the kernel hands over in segments of up to 64 KiB (GSO,
// veth(4)), so that few packets meet the table. They take turns as in BenchmarkSpoofPath.
//
//	go test ./internal/firewall/nftables -run '^$' -bench SpoofTCP -benchtime 20x
func BenchmarkSpoofTCP(b *testing.B) {
	_, eve, ben, lan := benchHosts(b)
	sizes := map[string]struct{ bytes, times int }{"request": {64, 2000}, "stream": {64 << 20, 1}}
	conns := map[string]net.Conn{}
	for path, to := range map[string]*nettest.Host{"between": ben, "lan": lan} {
		for name, size := range sizes {
			l := to.Listen("tcp", map[string]string{"between": bensAddr, "lan": "192.0.2.9"}[path]+":0")
			go answer(l, size.bytes)
			c, err := eve.Dial("tcp", l.Addr().String(), 3*time.Second)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { c.Close() })
			conns[path+"-"+name] = c
		}
	}
	variants := []struct {
		name string
		set  spoof.Set
	}{{"none", spoof.Set{}}, {"checked", spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}}}, {"of-1000", ofThousand()}}
	s := NewSpoof(b.Errorf)
	defer s.Close()
	took, chunk, one := map[string][]float64{}, make([]byte, 64<<10), make([]byte, 1)
	for b.Loop() {
		for _, v := range variants {
			if err := s.Apply(context.Background(), nil, v.set); err != nil {
				b.Fatal(err)
			}
			for key, c := range conns {
				size := sizes[key[strings.LastIndexByte(key, '-')+1:]]
				begun := time.Now()
				for range size.times {
					for left := size.bytes; left > 0; left -= len(chunk) {
						if _, err := c.Write(chunk[:min(left, len(chunk))]); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := io.ReadFull(c, one); err != nil {
						b.Fatal(err)
					}
				}
				took[key+"-"+v.name] = append(took[key+"-"+v.name], float64(time.Since(begun).Nanoseconds())/float64(size.times))
			}
		}
	}
	for key, all := range took {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], key+"-ns")
	}
}

// answer answers each message of so many bytes by one byte, on one connection.
func answer(l net.Listener, bytes int) {
	c, err := l.Accept()
	if err != nil {
		return // the benchmark has ended before it began
	}
	defer c.Close()
	for {
		if _, err := io.CopyN(io.Discard, c, int64(bytes)); err != nil {
			return // the other end was closed
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return
		}
	}
}

// sink is a connected socket of one host, to one of another that nobody reads.
func sink(b *testing.B, from, to *nettest.Host, at netip.Addr) (fd int) {
	b.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	var there unix.Sockaddr
	to.In(func() {
		fd := socket()
		err := unix.Bind(fd, &unix.SockaddrInet4{Addr: at.As4()})
		if err == nil {
			there, err = unix.Getsockname(fd)
		}
		if err != nil {
			b.Fatal(err)
		}
	})
	from.In(func() {
		fd = socket()
		if err := unix.Connect(fd, there); err != nil {
			b.Fatal(err)
		}
	})
	return fd
}

// crowded is eve and ben on a network with a list, beside a thousand others on twenty.
func crowded(b *testing.B) spoof.Set {
	s := iccSet(b, "web>db:1-65535/udp,a>b:1,b>c:2,c>d:3,d>e:4", "web", "db")
	l := s.Networks[0].Rules()
	for n := range 20 {
		bridge := fmt.Sprintf("br1%02d", n)
		s.Networks = append(s.Networks, spoof.NewNetwork(bridge, l, nil, nil, nil))
		for i := range 50 {
			s.Ports = append(s.Ports, spoof.Port{Link: fmt.Sprintf("vethy%02d%02d", n, i), Bridge: bridge, MAC: model.MAC{2, 9, 1, 0, byte(n), byte(i)},
				V4: netip.AddrFrom4([4]byte{10, 10, byte(n), byte(i)}), Listed: true, Class: l.Classes()[i%7]})
		}
	}
	return s.With(spoof.Set{}) // sorted
}

// What a port costs a request that comes, and one that goes, beside a thousand others.
//
//	go test ./internal/firewall/nftables -run '^$' -bench SpoofChange
func BenchmarkSpoofChange(b *testing.B) {
	nettest.New(b)
	few := spoof.Set{}
	for i := range 1000 {
		few.Ports = append(few.Ports, spoof.Port{Link: fmt.Sprintf("veth%04d", i), Bridge: "br9", MAC: model.MAC{2, 9, 0, 0, byte(i >> 8), byte(i)}, V4: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})})
	}
	more := spoof.Set{Ports: append(slices.Clone(few.Ports), spoof.Port{Link: "vethnew", Bridge: "br9", MAC: macEve, V4: netip.MustParseAddr("10.10.0.1"), V6: netip.MustParseAddr("fd00::1")})}
	s := NewSpoof(b.Errorf)
	defer s.Close()
	apply := func(have *spoof.Set, want spoof.Set) time.Duration {
		begun := time.Now()
		if err := s.Apply(context.Background(), have, want); err != nil {
			b.Fatal(err)
		}
		return time.Since(begun)
	}
	apply(nil, few)
	var comes, goes time.Duration
	for b.Loop() {
		comes += apply(&few, more)
		goes += apply(&more, few)
	}
	b.ReportMetric(float64(comes.Microseconds())/float64(b.N), "comes-µs/op")
	b.ReportMetric(float64(goes.Microseconds())/float64(b.N), "goes-µs/op")
}
