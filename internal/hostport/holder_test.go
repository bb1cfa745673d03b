package hostport

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// listenEnv makes the test binary another program that has a port: "tcp4 0.0.0.0:80".
const listenEnv = "HOSTPORT_TEST_LISTEN"

// listenUntilKilled returns only if it can't listen.
func listenUntilKilled(network, address string) (err error) {
	if strings.HasPrefix(network, "tcp") {
		_, err = net.Listen(network, address)
	} else {
		_, err = net.ListenPacket(network, address)
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin) // until the test ends
	os.Exit(0)
	return nil
}

// program starts a program that has a port, and gives its process number.
func program(t *testing.T, network, address string) (pid string) {
	t.Helper()
	return programWith(t, &syscall.SysProcAttr{}, network, address)
}

func programWith(t *testing.T, attr *syscall.SysProcAttr, network, address string) (pid string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "serve", "things")
	cmd.Env = append(os.Environ(), listenEnv+"="+network+" "+address, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // its exit code doesn't matter
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s %s: %q, %v", network, address, line, err)
	}
	return strconv.Itoa(cmd.Process.Pid)
}

// itself is the test process as the holder of a port.
func itself() string { return commandOf(strconv.Itoa(os.Getpid())) }

func TestThePortOfAnotherProgram(t *testing.T) {
	for _, c := range []struct {
		network, has string
		proto        model.Proto
		host         string
		seen         bool
	}{
		{"tcp4", "0.0.0.0:80", model.TCP, "0.0.0.0:80", true},
		{"tcp4", "0.0.0.0:80", model.TCP, "127.0.0.1:80", true},
		{"tcp4", "127.0.0.1:80", model.TCP, "0.0.0.0:80", true},
		{"tcp4", "127.0.0.1:80", model.TCP, "127.0.0.1:80", true},
		{"tcp4", "127.0.0.2:80", model.TCP, "127.0.0.1:80", false},
		{"tcp4", "0.0.0.0:80", model.TCP, "0.0.0.0:81", false},
		{"tcp4", "0.0.0.0:80", model.UDP, "0.0.0.0:80", false},
		{"tcp4", "0.0.0.0:80", model.TCP, "[::]:80", false},
		{"tcp", "[::]:80", model.TCP, "0.0.0.0:80", true}, // both families
		{"tcp", "[::]:80", model.TCP, "[::]:80", true},
		{"tcp6", "[::1]:80", model.TCP, "[::]:80", true},
		{"tcp6", "[::1]:80", model.TCP, "[::1]:80", true},
		{"tcp6", "[::1]:80", model.TCP, "0.0.0.0:80", false},
		{"udp4", "0.0.0.0:80", model.UDP, "0.0.0.0:80", true},
		{"udp6", "[::]:80", model.UDP, "[::]:80", true},
		{"udp4", "0.0.0.0:80", model.TCP, "0.0.0.0:80", false},
		{"tcp4", "0.0.0.0:80", model.SCTP, "0.0.0.0:80", false},
	} {
		t.Run(c.network+" "+c.has+" at "+c.proto.String()+" "+c.host, func(t *testing.T) {
			nettest.Process(t)
			pid := program(t, c.network, c.has)
			want := ""
			if c.seen {
				want = "pid " + pid + " (/proc/self/exe serve things)"
			}
			if got := holderOf(c.proto, netip.MustParseAddrPort(c.host)); got != want {
				t.Errorf("have %q, want %q", got, want)
			}
		})
	}
}

func TestPortTakenByAnotherProgramIsNamed(t *testing.T) {
	nettest.Process(t)
	pid := program(t, "tcp4", "0.0.0.0:8080")
	m := start(t, Config{})
	err := m.Apply(t.Context(), nil, set(binding("a", model.TCP, "0.0.0.0:8080", 80, 1)))
	want := ": address already in use by pid " + pid + " (/proc/self/exe serve things)"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("have error %v, want it to end with %s", err, want)
	}
	// Docker's own words in the answer to a request.
	_, _, err = m.Reserve("b", []model.PortRequest{request(model.TCP, "0.0.0.0", 8080, 8080, 80)})
	if err == nil || !strings.HasSuffix(err.Error(), ": address already in use") {
		t.Errorf("have error %v", err)
	}
}

// A port that stays taken is tried in every pass: who has it is not looked for each time, nor
// for all of many.
func TestHolderIsLookedForNowAndThen(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	looks := 0
	m.holders.look = func(sockets []boundSocket) string {
		looks++
		return holderOfAny(sockets)
	}
	wanted := Set{}
	for n := range maxNamed + 5 {
		at := fmt.Sprintf("0.0.0.0:%d", 8000+n)
		foreign(t, "tcp4", at)
		wanted.Bindings = append(wanted.Bindings, binding("a", model.TCP, at, 80+n, 1))
	}
	var first string
	for range 3 {
		err := m.Apply(t.Context(), nil, wanted)
		if err == nil || strings.Count(err.Error(), " by "+itself()) != maxNamed {
			t.Fatalf("have %v, want %d to be named", err, maxNamed)
		}
		if first == "" {
			first = err.Error()
		}
		if err.Error() != first {
			t.Errorf("have %v, and before %s", err, first)
		}
	}
	if looks != maxNamed {
		t.Errorf("%d looks for %d ports, want %d", looks, len(wanted.Bindings), maxNamed)
	}
}

func TestTableAddr(t *testing.T) {
	for _, text := range []string{"", "0100007F", "0100007F:", "0100007F:10000", "01:0050", "x:0050"} {
		if got, err := tableAddr(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
