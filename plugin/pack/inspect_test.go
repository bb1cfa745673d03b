package main

import (
	"crypto/sha256"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// foreign is a processor that this machine hasn't got.
func foreign() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

// crossBuilt is a static program for the foreign processor.
func crossBuilt(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	write(t, source, "package main\n\nfunc main() {}\n", 0o600)
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+foreign())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Of another processor's root file system is seen that a program isn't for it, is missing,
// or lacks a library.
func TestInspect(t *testing.T) {
	cross := crossBuilt(t)
	native, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dynamic := "/bin/true" // with a linker and a C library, on every system that has those
	for _, c := range []struct {
		name, arch string
		change     func(root string)
		want       string
	}{
		{"right", foreign(), func(string) {}, ""},
		{"one for this machine", foreign(), func(root string) { write(t, filepath.Join(root, "usr/bin/mybr"), native, 0o755) }, "in the root file system: /usr/bin/mybr is for EM_"},
		{"missing", foreign(), func(root string) { must(t, os.Remove(filepath.Join(root, "usr/sbin/iptables"))) }, "in the root file system: /usr/sbin/iptables: "},
		{"no program", foreign(), func(root string) {
			write(t, filepath.Join(root, "usr/bin/mybr"), "#!/bin/sh\n"+strings.Repeat("#", 64), 0o755)
		}, "bad magic number"},
		{"no such processor", "z80", func(string) {}, `processor "z80" is not known`},
		{"without its linker", runtime.GOARCH, func(root string) {
			for _, words := range programs() {
				write(t, filepath.Join(root, words[0]), native, 0o755)
			}
			text, err := os.ReadFile(dynamic)
			must(t, err)
			write(t, filepath.Join(root, "usr/bin/mybr"), string(text), 0o755)
		}, "/usr/bin/mybr needs /lib"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for _, words := range programs() {
				write(t, filepath.Join(root, words[0]), cross, 0o755)
			}
			c.change(root)
			err := inspect(root, c.arch)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// A library is found where Debian has it, and its absence is told with the program's name.
func TestLibrary(t *testing.T) {
	root := t.TempDir()
	if _, err := library(root, "libc.so.6"); err == nil || !strings.Contains(err.Error(), "library libc.so.6 is missing") {
		t.Errorf("error %v", err)
	}
	write(t, filepath.Join(root, "usr/lib/aarch64-linux-gnu/libc.so.6"), "", 0o644)
	if found, err := library(root, "libc.so.6"); err != nil || found != "usr/lib/aarch64-linux-gnu/libc.so.6" {
		t.Errorf("found %q, %v", found, err)
	}
}

// Two packings of the same archives are the same files.
func TestAssembleIsReproducible(t *testing.T) {
	o, debs := parts(t)
	var packed [2]map[string]string
	for i := range packed {
		o.out = filepath.Join(t.TempDir(), "build", "plugin")
		must(t, assemble(o, debs))
		packed[i] = tree(t, o.out)
		must(t, filepath.WalkDir(o.out, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			sum := sha256.Sum256(text)
			packed[i][path[len(o.out):]] = string(sum[:])
			return err
		}))
	}
	if !maps.Equal(packed[0], packed[1]) {
		t.Errorf("there are\n%q\nand\n%q", packed[0], packed[1])
	}
}

// The root file system says what it is made of.
func TestList(t *testing.T) {
	root := t.TempDir()
	must(t, list(root, []string{"/a/netbase_1%3a6.4_all.deb", "/a/iptables_1.8.9-2_arm64.deb"}))
	text, err := os.ReadFile(filepath.Join(root, "usr/share/doc/mybr/packages"))
	if want := "iptables_1.8.9-2_arm64\nnetbase_1:6.4_all\n"; err != nil || string(text) != want {
		t.Errorf("there is %q, %v; want %q", text, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
