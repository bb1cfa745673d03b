package plugin

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// mapped is how much of files the process has in memory, in bytes (RssFile of
// proc_pid_status(5)).
func mapped(t *testing.T) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nRssFile:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// What was touched of the program once is given back.
func TestShrink(t *testing.T) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(text)) {
		start, end, ok := unchanged(strings.TrimSpace(line), program)
		for page := start; ok && page < end; page += 4096 {
			if _, err := mem.ReadAt(make([]byte, 1), int64(page)); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := mapped(t)
	if err := shrink(); err != nil {
		t.Fatal(err)
	}
	if after := mapped(t); after > before/2 { // some of it is needed again at once
		t.Errorf("%d bytes of files are in memory, and %d before", after, before)
	}
}

func TestUnchanged(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-00dd6000 r-xp 00000000 fe:00 393251                             /usr/bin/mybr":         true,
		"00dd6000-017d5000 r--p 009d6000 fe:00 393251                             /usr/bin/mybr":         true,
		"017d5000-01897000 rw-p 013d5000 fe:00 393251                             /usr/bin/mybr":         false,
		"7f3b21594000-7f3b215ba000 r--p 00000000 fe:00 6081                       /usr/lib/libc.so.6":    false,
		"7f3b21778000-7f3b21780000 r--s 00000000 00:24 7                          /var/lib/mybr/mybr.db": false,
		"01897000-038dc000 rw-p 00000000 00:00 0":                                                        false,
		"7ffd5af7e000-7ffd5af9f000 rw-p 00000000 00:00 0                          [stack]":               false,
		"nonsense": false, "": false,
	} {
		if _, _, ok := unchanged(line, "/usr/bin/mybr"); ok != want {
			t.Errorf("%q: %t", line, ok)
		}
	}
	if start, end, _ := unchanged("00400000-00dd6000 r-xp 00000000 fe:00 393251 /usr/bin/mybr", "/usr/bin/mybr"); start != 0x400000 || end != 0xdd6000 {
		t.Errorf("%x-%x", start, end)
	}
}
