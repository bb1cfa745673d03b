package store

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A program gives itself the name that is said of it.
func TestNamesOfProgramsArePrintable(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	cmd.Args[0] = "\x1b[2J\nmsg=x\u202e" + strings.Repeat("y", 100)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	}()
	// The kernel sets the command line of a new program a moment after it closes what Start
	// waits for (execve(2)).
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)); err == nil && len(raw) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the program has no command line")
		}
	}
	if have, want := command(cmd.Process.Pid), `\x1b[2J\nmsg=x\u202e`+strings.Repeat("y", 64-len("\x1b[2J\nmsg=x\u202e")); have != want {
		t.Errorf("have %s, want %s", have, want)
	}
}
