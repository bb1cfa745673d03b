package plugin

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// shrink gives back what only the start has needed: the memory in which records, links and
// rules were read, and the pages of the program that have run once.
//
// The pages stay in the page cache, from where those that are needed again are mapped again,
// in some microseconds. But the kernel maps 16 of them for each that is touched, so that a
// start has nearly all of the program in memory of its own; and what nobody has mapped it can
// take away first when memory is short.
func shrink() error {
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("look at the process's memory: %w", err)
	}
	defer maps.Close() // only read
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("look for the process's program: %w", err)
	}
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		start, end, ok := unchanged(lines.Text(), program)
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give pages of %s back: %w", program, errno)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("look at the process's memory: %w", err)
	}
	return nil
}

// unchanged returns where a line of /proc/self/maps says that a part of a file is (proc(5)), if
// it can't have been written to: to drop pages that were would lose what is in them.
func unchanged(line, file string) (start, end uintptr, ok bool) {
	var permissions, offset, device, inode string
	if n, err := fmt.Sscanf(line, "%x-%x %s %s %s %s", &start, &end, &permissions, &offset, &device, &inode); n != 6 || err != nil {
		return 0, 0, false
	}
	readOnly := permissions == "r--p" || permissions == "r-xp"
	return start, end, readOnly && start < end && strings.HasSuffix(line, " "+file)
}
