package world

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// violation is what mybr may never do, whatever the test looks at.
func (w *World) violation() string {
	for _, log := range []string{"mybr.log", "docker-proxy.log"} {
		text, err := os.ReadFile(filepath.Join(w.dir, log))
		if err != nil {
			continue // it was not started
		}
		for _, word := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if strings.Contains("\n"+string(text), word) {
				return log + ": " + strings.TrimSpace(word)
			}
		}
	}
	return ""
}

func (w *World) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(w.dir, "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if n := len(lines) - logLines; n > 0 {
			lines = append([]string{fmt.Sprintf("… %d lines", n)}, lines[n:]...)
		}
		w.t.Logf("%s:\n%s", filepath.Base(path), strings.Join(lines, "\n"))
	}
}

// logLines is how much of each daemon's log a failed test shows.
const logLines = 60
