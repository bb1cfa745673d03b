// Command guest is the one program inside the test image: servers, clients and
// observers of a network. The tests run it in containers, on the host and on the
// hosts of the LAN.
//
// What it observes it prints as one JSON object a line (package report); how a
// request fared is its exit code.
//
// Be aware: it is for tests. Its servers answer anybody.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/mybr/mybr/integration/report"
	"github.com/vishvananda/netlink"
)

// errUsage wraps every complaint about the command line.
var errUsage = errors.New("usage")

func commands() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"serve": serve, "get": get, "stream": stream, "ping": ping, "sniff": sniff, "send": send,
		"sleep": sleep, "resolve": resolve, "sysctl": sysctl, "probe": probe, "lookup": lookup,
		"traffic": traffic, "cat": cat, "blast": blast, "sink": sink, "zone": zone, "query": query, "site": site, "fetch": fetch,
		"depot": depot, "attempt": attempt, "drip": drip, "watch": watchTokens,
		"addr":  facts(report.Links),
		"route": facts(report.Routes),
		"neigh": facts(report.Neighs),
	}
}

func main() {
	if len(os.Args) < 2 || commands()[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "guest: want one of: serve get stream ping sniff send sleep resolve sysctl probe lookup traffic cat blast sink zone query site fetch depot attempt drip watch addr route neigh")
		os.Exit(report.Usage)
	}
	err := commands()[os.Args[1]](os.Args[2:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "guest %s: %v\n", strings.Join(os.Args[1:], " "), err)
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		return report.Answered
	case errors.Is(err, errUsage):
		return report.Usage
	case errors.Is(err, syscall.ECONNREFUSED):
		return report.Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EACCES):
		return report.Unreachable
	case errors.As(err, &timeout) && timeout.Timeout():
		return report.TimedOut
	}
	return report.Failed
}

func say(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(line))
	return err
}

// sleep ends at SIGTERM and SIGINT, which a process 1 would not heed unasked.
func sleep([]string) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
	return nil
}

func resolve(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: resolve NAME", errUsage)
	}
	found, err := net.LookupHost(args[0])
	if err != nil {
		return err
	}
	slices.Sort(found)
	return say(found)
}

// sysctl reads net.ipv4.ip_forward, or writes net.ipv4.ip_forward=1. Dots inside an
// interface's name are written as slashes, as in sysctl(8).
func sysctl(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: sysctl KEY[=VALUE]", errUsage)
	}
	key, value, write := strings.Cut(args[0], "=")
	path := "/proc/sys/" + strings.NewReplacer(".", "/", "/", ".").Replace(key)
	if write {
		return os.WriteFile(path, []byte(value), 0)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no setting %s", key)
	}
	if err == nil {
		fmt.Print(string(b))
	}
	return err
}

func facts[T any](list func(*netlink.Handle) ([]T, error)) func([]string) error {
	return func([]string) error {
		h, err := netlink.NewHandle(syscall.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		found, err := list(h)
		for _, one := range found {
			if err := say(one); err != nil {
				return err
			}
		}
		return err
	}
}
