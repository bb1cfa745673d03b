package relay

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// Clients that are not served any more are ended, those that are go on, and new ones are served
// or not as the last word says. All of 127.0.0.0/8 is the host's, so that there can be several.
func TestAdmit(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			_, container := withContainer(t)
			container.Echo(network+"4", "0.0.0.0:80")
			s := serve(t, start(t, Config{}), network, 8080, 80)
			begin := func(from string) net.Conn {
				d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
				if network == "udp" {
					d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
				}
				c, err := d.Dial(network, "127.0.0.1:8080")
				if errors.Is(err, syscall.ECONNRESET) {
					return nil // it was accepted, and reset at once
				} else if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				return c
			}
			asked := 0
			answered := func(what string, c net.Conn, want bool) {
				t.Helper()
				wait := patience
				if !want {
					wait = 300 * time.Millisecond
				}
				err := error(net.ErrClosed)
				if c != nil {
					asked++
					err = echoed(c, fmt.Sprintf("%s %d;", what, asked), wait)
				}
				if (err == nil) != want {
					t.Errorf("%s: %v", what, err)
				}
			}
			first, second := begin("127.0.0.1"), begin("127.0.0.2")
			answered("everybody", first, true)
			answered("everybody", second, true)
			only := func(text string) Admit {
				a := netip.MustParseAddr(text)
				return func(client netip.Addr, _ func() uint32) bool { return client == a }
			}
			s.Serve(Targets{V4: at(80), Admit: only("127.0.0.2")})
			answered("the first, who is served no more", first, false)
			answered("the second", second, true)
			answered("the first again", begin("127.0.0.1"), false)
			answered("the second again", begin("127.0.0.2"), true)
			s.Serve(Targets{V4: at(80)})
			answered("everybody again", begin("127.0.0.1"), true)
			answered("who was served all the time", second, true)
		})
	}
}

// echoed sends a text, and waits for it to come back behind whatever comes before.
func echoed(c net.Conn, text string, wait time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(wait))
	_, err := c.Write([]byte(text))
	for got := []byte{}; err == nil && !bytes.HasSuffix(got, []byte(text)); {
		part := make([]byte, 1500)
		n := 0
		n, err = c.Read(part)
		got = append(got, part[:n]...)
	}
	return err
}
