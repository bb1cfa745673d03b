package store

import (
	"os/exec"
	"runtime"
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
	// Start returns in the middle of execve(2): the arguments are there a moment later.
	for began := time.Now(); command(cmd.Process.Pid) == "sleep" && time.Since(began) < 10*time.Second; {
		runtime.Gosched()
	}
	if have, want := command(cmd.Process.Pid), `\x1b[2J\nmsg=x\u202e`+strings.Repeat("y", 64-len("\x1b[2J\nmsg=x\u202e")); have != want {
		t.Errorf("have %s, want %s", have, want)
	}
}
