package main

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/bench"
)

// newRecord begins a record with what is known of the machine. It waits so many seconds at
// most until the machine rests.
func newRecord(row, mybr string, wait int) (*bench.Record, error) {
	r := &bench.Record{Row: row, When: time.Now().UTC().Format(time.DateOnly)}
	var err error
	if r.Machine, err = machine(); err != nil {
		return nil, err
	}
	out, err := exec.Command(mybr, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w", mybr, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	r.Version = strings.TrimSpace(strings.TrimPrefix(first, "version:"))
	r.Busy, err = othersBusy(wait, time.Second)
	return r, err
}

// othersBusy is how many processors are busy while this process does nothing. It looks so
// often at most, until the machine rests: what an earlier row has left takes a while to go.
// (The load of proc_loadavg(5) would be that of the earlier row, or of the build.)
func othersBusy(often int, each time.Duration) (busy float64, err error) {
	before, total, err := ticks("/proc/stat")
	for range often {
		if err != nil {
			return 0, err
		}
		time.Sleep(each)
		var now, then float64
		if now, then, err = ticks("/proc/stat"); err == nil && then > total {
			busy = float64(runtime.NumCPU()) * (now - before) / (then - total)
		}
		if before, total = now, then; bench.Rests(busy) {
			break
		}
	}
	return busy, err
}

// ticks is the time that all processors have been busy, and their time in all (proc_stat(5)).
func ticks(path string) (busy, total float64, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	var user, nice, system, idle, iowait, irq, softirq, steal float64
	if _, err := fmt.Sscanf(string(text), "cpu %f %f %f %f %f %f %f %f", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", path, err)
	}
	busy = user + nice + system + irq + softirq + steal
	return busy, busy + idle + iowait, nil
}

// machine is what the figures were measured on.
func machine() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	model := "unknown"
	for line := range strings.Lines(string(cpus)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return "", fmt.Errorf("sysinfo: %w", err)
	}
	gib := float64(memory.Totalram) * float64(memory.Unit) / (1 << 30)
	return fmt.Sprintf("%d processors (%s), %.0f GiB, Linux %s", runtime.NumCPU(), model, gib, unix.ByteSliceToString(u.Release[:])), nil
}

// interruptsApart tells whether the kernel keeps the time of interrupts from that of the
// processes they come to. A kernel that doesn't show how it was built may.
func interruptsApart() (bool, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false, fmt.Errorf("uname: %w", err)
	}
	text, err := os.ReadFile("/boot/config-" + unix.ByteSliceToString(u.Release[:]))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = ownConfig()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return !strings.Contains(string(text), "# CONFIG_IRQ_TIME_ACCOUNTING is not set"), err
}

// ownConfig is the configuration of a kernel that has it in itself (CONFIG_IKCONFIG_PROC).
func ownConfig() ([]byte, error) {
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return io.ReadAll(z)
}
