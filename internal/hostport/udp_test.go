package hostport

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// client is a UDP socket connected to address: it hears nobody but that very address.
func client(t *testing.T, host *nettest.Host, address string) net.Conn {
	t.Helper()
	c, err := host.Dial("udp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends one datagram and returns the line of the server and the echo.
func say(c net.Conn, what string) (greeting, echo string, err error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte(what)); err != nil {
		return "", "", err
	}
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	greeting, echo, _ = strings.Cut(string(buf[:n]), "\n")
	return greeting, echo, err
}

func TestUDPAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("udp4", "0.0.0.0:53")
	m := start(t, Config{})
	publish(t, m, request(model.UDP, "", 5353, 5353, 53))
	lan := withLAN(t, host)
	for from, addresses := range map[*nettest.Host][]string{
		host: {"127.0.0.1:5353", "127.0.0.9:5353", "192.0.2.9:5353", "[::1]:5353", "[fd00:5::9]:5353"},
		lan:  {"192.0.2.1:5353", "192.0.2.9:5353", "[fd00:5::1]:5353", "[fd00:5::9]:5353", "[fe80::5:1%eth0]:5353"},
	} {
		for _, address := range addresses {
			c := client(t, from, address)
			for _, what := range []string{"one", "", strings.Repeat("x", 60000)} {
				greeting, echo, err := say(c, what)
				if err != nil || !strings.HasPrefix(greeting, "container ") || echo != what {
					t.Errorf("%s to %s, %d bytes: %q, %d bytes, %v", from.Name, address, len(what), greeting, len(echo), err)
				}
			}
		}
	}
}

func TestUDPIsDroppedUntilAdoption(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("udp4", "0.0.0.0:53")
	m := start(t, Config{})
	bindings, _ := reserve(t, m, "a", request(model.UDP, "127.0.0.1", 5353, 5353, 53))
	c := client(t, host, "127.0.0.1:5353")
	if _, err := c.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	apply(t, m, setOf("a", bindings))
	if _, echo, err := say(c, "late"); err != nil || echo != "late" {
		t.Errorf("%q %v", echo, err)
	}
}
