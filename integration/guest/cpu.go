package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// keepTo has this process run on the first or on the last of the processors that it may use
// (sched_setaffinity(2)), or wherever the scheduler puts it if which is empty. Two ends of a
// load that share a processor in one measurement and not in the next one would differ by more
// than what is measured.
//
// A thread inherits this from the one that made it, and there are several already: so the
// program is begun anew.
func keepTo(which string) error {
	if which == "" {
		return nil
	}
	if which != "first" && which != "last" {
		return fmt.Errorf("%w: -cpu %q: want first or last", errUsage, which)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var may, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	if may.Count() < 2 {
		return nil // it is kept to one already
	}
	for cpu, left := 0, may.Count(); left > 0; cpu++ {
		if !may.IsSet(cpu) {
			continue
		}
		if left--; which == "first" || left == 0 {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return os.NewSyscallError("execve", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}
