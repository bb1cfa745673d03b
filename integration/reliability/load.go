package reliability

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// sampleEvery is how often watchLoad looks.
const sampleEvery = 50 * time.Millisecond

// watchLoad looks at how busy the machine is until busy is called. That is how many threads
// wanted to run for each that a processor has time for, on average of that time or of the
// last minute, whichever is more; at least 1. Two for each processor are what a row alone
// takes: dockerd and the traffic beside mybr.
func watchLoad() (busy func() float64) {
	stop, mean := make(chan struct{}), make(chan float64)
	go func() {
		ticks := time.NewTicker(sampleEvery)
		defer ticks.Stop()
		sum, n := 0, 0
		for {
			if _, running, err := load(); err == nil {
				sum, n = sum+running-1, n+1 // one is this thread
			}
			select {
			case <-ticks.C:
			case <-stop:
				mean <- float64(sum) / float64(max(1, n))
				return
			}
		}
	}()
	return sync.OnceValue(func() float64 {
		close(stop)
		wanted := <-mean
		if minute, _, err := load(); err == nil {
			wanted = max(wanted, minute)
		}
		return max(1, wanted/float64(2*runtime.NumCPU()))
	})
}

// load is the average load of the last minute, and how many threads run or want to
// (proc_loadavg(5)).
func load() (minute float64, running int, err error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 4 {
		return 0, 0, fmt.Errorf("read /proc/loadavg: %q", text)
	}
	if _, err = fmt.Sscan(fields[0], &minute); err == nil {
		_, err = fmt.Sscanf(fields[3], "%d/", &running)
	}
	return minute, running, err
}
