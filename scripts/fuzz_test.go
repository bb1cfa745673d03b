package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A target fails for an input alone: not because its end and its time's have crossed.
func TestFuzz(t *testing.T) {
	for _, c := range []struct {
		name, says string
		fails      bool
	}{
		{"the time is over", "--- FAIL: FuzzX (10.20s)\n    context deadline exceeded\nFAIL\n", false},
		{"an input fails", "--- FAIL: FuzzX (1.20s)\n    --- FAIL: FuzzX (0.00s)\n        x_test.go:1: context deadline exceeded\n    \n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n", true},
		{"an input fails, and the time is over", "--- FAIL: FuzzX (10.20s)\n    context deadline exceeded\n    \n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n", true},
		{"an input from before fails", "--- FAIL: FuzzX (0.00s)\n    --- FAIL: FuzzX/seed#0 (0.00s)\n        x_test.go:1: wrong\nFAIL\n", true},
		{"it does not compile", "FAIL\tx [build failed]\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			fake := "#!/bin/sh\ncat <<'END'\n" + c.says + "END\nexit 1\n"
			if err := os.WriteFile(filepath.Join(dir, "go"), []byte(fake), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("./fuzz", "1s")
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if c.fails != (err != nil) || !strings.Contains(string(out), c.says) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
