// Command demo shows mybr at work: in a world of its own (package world) it starts a
// Docker Engine and mybr, does what a user would, and shows each command with what
// came of it. It exits with 0 only if every step held.
//
// Be aware: it needs root. Nothing of it touches the machine's own Docker, links or
// firewall, and nothing is left, whether it ends well, fails or is interrupted.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mybr/mybr/integration/world"
)

func main() {
	world.Main()
	mybr := flag.String("mybr", "bin/mybr", "the mybr binary")
	flag.Parse()
	os.Exit(run(*mybr))
}

// run is the whole demonstration; it gives the exit code.
func run(mybr string) int {
	path, err := filepath.Abs(mybr)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err == nil {
		err = os.Setenv("MYBR_TEST_BINARY", path) // package world takes this one
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: `make build` makes the binary:", err)
		return 1
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	start := time.Now()
	s := newStage(os.Stdout)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.play(func() { story(s, path) })
	}()
	select {
	case <-ended:
	case sig := <-interrupted:
		s.silence()
		fmt.Printf("\n%s: taking everything down\n", sig)
		s.close()
		return 130
	}
	s.close()
	return s.verdict(time.Since(start))
}
