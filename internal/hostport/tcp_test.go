package hostport

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

const patience = 10 * time.Second

func TestTCPIsRelayedFromEveryAddressOfTheHost(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	m := start(t, Config{})
	publish(t, m, request(model.TCP, "", 8080, 8080, 80))
	for _, address := range []string{"127.0.0.1:8080", "127.9.9.9:8080", "172.30.0.1:8080", "[::1]:8080"} {
		answer, err := host.Ask("tcp", address, patience)
		if err != nil || answer.Server != "container" {
			t.Errorf("%s: %v %v", address, answer, err)
		}
	}
}

func TestTCPFromIPv6PeersAndLinkLocalAddresses(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	lan := withLAN(t, host)
	m := start(t, Config{})
	publish(t, m, request(model.TCP, "", 8080, 8080, 80))
	for _, address := range []string{"[fd00:5::1]:8080", "[fe80::5:1%eth0]:8080"} {
		if answer, err := lan.Ask("tcp6", address, patience); err != nil || answer.Server != "container" {
			t.Errorf("%s: %v %v", address, answer, err)
		}
	}
}

func TestConnectionMadeBeforeAdoptionWaitsForIt(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	m := start(t, Config{})
	bindings, _ := reserve(t, m, "a", request(model.TCP, "", 8080, 8080, 80))
	if _, err := host.Dial("tcp", "127.0.0.1:8080", 100*time.Millisecond); !isTimeout(err) {
		t.Fatalf("%v, want silence", err)
	}
	type result struct {
		answer nettest.Answer
		err    error
	}
	asked := make(chan result, 1)
	go func() {
		answer, err := host.Ask("tcp", "[::1]:8080", patience)
		asked <- result{answer, err}
	}()
	nettest.Eventually(t, patience, func() error { // the SYN is out
		if out := host.Run("ss", "-H", "-t", "-n", "state", "syn-sent"); !bytes.Contains([]byte(out), []byte("[::1]:8080")) {
			return fmt.Errorf("no SYN yet: %q", out)
		}
		return nil
	})
	apply(t, m, setOf("a", bindings))
	if r := <-asked; r.err != nil || r.answer.Server != "container" {
		t.Errorf("%v %v", r.answer, r.err)
	}
}

func isTimeout(err error) bool {
	var nerr net.Error
	return errors.As(err, &nerr) && nerr.Timeout()
}

func TestRemovalEndsTheConnectionsAndFreesThePort(t *testing.T) {
	host, container := withContainer(t)
	l := container.Listen("tcp4", "0.0.0.0:80")
	m := start(t, Config{})
	publish(t, m, request(model.TCP, "", 8080, 8080, 80))
	for _, address := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		c, err := host.Dial("tcp", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		server, err := l.Accept() // the connection is relayed
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		defer func() {
			for _, end := range []net.Conn{c, server} {
				_ = end.SetReadDeadline(time.Now().Add(patience))
				if n, err := end.Read(make([]byte, 1)); n > 0 || err == nil || isTimeout(err) {
					t.Errorf("%s: still open: %d %v", address, n, err)
				}
			}
		}()
	}
	apply(t, m, Set{})
	// The client's end is still open, and the port free all the same.
	for _, address := range []string{"0.0.0.0:8080", "[::]:8080"} {
		if err := plainBind("tcp", address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	reserve(t, m, "b", request(model.TCP, "", 8080, 8080, 80))
}
