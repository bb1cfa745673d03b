// Command agent runs the commands that a test sends into its virtual machine, each at once,
// and answers how they ended.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/mybr/mybr/integration/vm/wire"
)

func main() {
	if err := serve("/dev/virtio-ports/" + wire.Port); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// serve says hello on the port and answers until the other side closes it.
func serve(path string) error {
	port, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer port.Close()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	out := &answers{to: json.NewEncoder(port)}
	if err := out.say(wire.Message{Hello: &wire.Hello{Boot: strings.TrimSpace(string(boot))}}); err != nil {
		return err
	}
	for in := json.NewDecoder(port); ; {
		var c wire.Command
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a command: %w", err)
		}
		go func() {
			if err := out.say(wire.Message{Outcome: run(c)}); err != nil {
				fmt.Fprintf(os.Stderr, "agent: answer %q: %v\n", c.Argv, err)
			}
		}()
	}
}

// answers writes one line at a time.
type answers struct {
	mu sync.Mutex
	to *json.Encoder
}

func (a *answers) say(m wire.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.to.Encode(m)
}

func run(c wire.Command) *wire.Outcome {
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Input), &stdout, &stderr
	err := cmd.Run()
	o := &wire.Outcome{ID: c.ID, Code: cmd.ProcessState.ExitCode(), Output: stdout.String(), Errors: stderr.String()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.Code, o.Errors = -1, o.Errors+err.Error()
	}
	return o
}
