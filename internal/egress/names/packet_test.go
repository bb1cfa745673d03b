package names

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A socket that is bound to every address answers from the one that it was asked at: a client
// that has connected its own takes no other, and neither does the translation of addresses. Each
// address here is the host's own, and the kernel would choose another one.
func TestAnswersFromTheAddressThatWasAsked(t *testing.T) {
	for network, asked := range map[string][]string{
		"udp4": {"127.0.0.1", "127.0.7.9"},
		"udp":  {"127.0.0.1", "127.0.7.9", "::1"},
		"udp6": {"::1"},
	} {
		t.Run(network, func(t *testing.T) {
			s, err := New(Config{Policy: listed, Resolver: NewResolver(&fake{zone: world1}, nil)})
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.ListenUDP(network, nil)
			if err != nil {
				t.Fatal(err)
			}
			port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			ctx, cancel := context.WithCancel(context.Background())
			var served sync.WaitGroup
			served.Go(func() {
				if err := s.ServePacket(ctx, c); err != nil {
					t.Error(err)
				}
			})
			defer served.Wait()
			defer cancel()
			for _, a := range asked {
				at := netip.AddrPortFrom(netip.MustParseAddr(a), port).String()
				b := exchange(t, "udp", at, question("six.example.", dnsmessage.TypeA, 0), 2*time.Second)
				if b == nil {
					t.Errorf("%s does not answer", at)
				} else if m := unpack(t, b); m.RCode != dnsmessage.RCodeSuccess {
					t.Errorf("%s answers %v", at, m.RCode)
				}
			}
			if n := s.Counts(); n.Answered != uint64(len(asked)) || n.Refused+n.Failed+n.Malformed+n.Dropped != 0 {
				t.Errorf("counted: %+v, want %d answered", n, len(asked))
			}
		})
	}
}
