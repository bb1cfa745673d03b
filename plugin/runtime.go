package plugin

import (
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
)

// Runtime is what GET /v1/runtime answers: what the process takes of the machine, once
// what it no longer needs is collected.
type Runtime struct {
	PID         int    `json:"pid"`
	Goroutines  int    `json:"goroutines"`
	Heap        uint64 `json:"heap"`        // bytes of live objects
	Descriptors int    `json:"descriptors"` // open files and sockets
	Records     int64  `json:"records"`     // bytes of the state file
}

// heapObjects is the memory that objects take, live ones or not yet swept (runtime/metrics).
const heapObjects = "/memory/classes/heap/objects:bytes"

// resources collects garbage and counts the rest. Twice: what has a finalizer goes with the
// second collection (runtime.SetFinalizer).
func resources(stateFile string) (Runtime, error) {
	runtime.GC()
	runtime.GC()
	sample := []metrics.Sample{{Name: heapObjects}}
	metrics.Read(sample)
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return Runtime{}, fmt.Errorf("count open files: %w", err)
	}
	file, err := os.Stat(stateFile)
	if err != nil {
		return Runtime{}, fmt.Errorf("measure the records: %w", err)
	}
	return Runtime{
		PID: os.Getpid(), Goroutines: runtime.NumGoroutine(), Heap: sample[0].Value.Uint64(),
		Descriptors: len(open) - 1, // the one that reads the folder is among them
		Records:     file.Size(),
	}, nil
}
