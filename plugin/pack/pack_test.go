package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// program returns a static program for any place in a root file system. It is built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mybr-pack-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	text, err := os.ReadFile(binary)
	return string(text), err
})

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// deb builds a Debian package of files, by their paths.
func deb(t *testing.T, name string, files map[string]string) (path string) {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for path, text := range files {
		write(t, filepath.Join(root, path), text, 0o755)
		if os.Geteuid() == 0 { // whoever packed it
			_ = os.Chown(filepath.Join(root, path), 1000, 1000) // not in a user namespace
		}
	}
	write(t, filepath.Join(root, "DEBIAN/control"), "Package: "+name+"\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n", 0o644)
	path = filepath.Join(dir, name+"_1_all.deb")
	if out, err := exec.Command("dpkg-deb", "-Znone", "--build", root, path).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	return path
}

// parts makes two packages like iptables and the C library, a binary and a manifest.
func parts(t *testing.T) (o options, debs []string) {
	t.Helper()
	static, err := program()
	if err != nil {
		t.Fatal(err)
	}
	tools := map[string]string{
		"DEBIAN/postinst":                   "#!/bin/sh\ntouch /ran /usr/sbin/ran\n",
		"usr/sbin/iptables-nft":             static,
		"usr/sbin/iptables-nft-save":        static,
		"usr/sbin/iptables-nft-restore":     static,
		"usr/sbin/iptables-legacy-restore":  static,
		"usr/share/doc/iptables/copyright":  "GPL",
		"usr/share/doc/iptables/changelog":  "news",
		"usr/share/man/man8/iptables.8.gz":  "manual",
		"usr/lib/systemd/system/x.service":  "unit",
		"usr/lib/x86_64-linux-gnu/gconv/x":  "characters",
		"usr/lib/x86_64-linux-gnu/xtables":  "kept",
		"etc/cron.daily/x":                  "job",
		"etc/ethertypes":                    "kept",
		"usr/share/locale/de/LC_MESSAGES/x": "text",
	}
	library := map[string]string{
		"lib/x86_64-linux-gnu/libc.so.6": "library", // in packages from before the merged /usr
		"lib64/ld-linux-x86-64.so.2":     "linker",
		"bin/tool":                       static,
		"sbin/tool":                      static,
		"usr/share/doc/libc6/copyright":  "LGPL",
	}
	dir := t.TempDir()
	o = options{arch: runtime.GOARCH, binary: filepath.Join(dir, "mybr"), config: filepath.Join(dir, "manifest"), out: filepath.Join(dir, "build", "plugin")}
	write(t, o.binary, static, 0o600)
	write(t, o.config, "{}", 0o600)
	return o, []string{deb(t, "iptables", tools), deb(t, "libc6", library)}
}

// tree lists what is below dir: files with their modes, links with their targets.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		found[name] = info.Mode().String()
		if d.Type() == fs.ModeSymlink {
			found[name], err = os.Readlink(path)
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
			t.Errorf("%s is owned by %d", name, owner)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The plugin's directory has the manifest, the binary and what the packages bring, in the
// merged /usr layout, with the names that their maintainer scripts would make; those are
// not run. What no program reads is left out, but for copyright files.
func TestAssemble(t *testing.T) {
	o, debs := parts(t)
	if err := assemble(o, debs); err != nil {
		t.Fatal(err)
	}
	const program, file = "-rwxr-xr-x", "-rw-r--r--"
	want := map[string]string{
		"config.json":         file,
		"rootfs/usr/bin/mybr": program, "rootfs/usr/share/doc/mybr/packages": file,
		"rootfs/bin": "usr/bin", "rootfs/sbin": "usr/sbin", "rootfs/lib": "usr/lib", "rootfs/lib64": "usr/lib64",

		"rootfs/usr/sbin/iptables":          "iptables-nft",
		"rootfs/usr/sbin/iptables-save":     "iptables-nft-save",
		"rootfs/usr/sbin/iptables-restore":  "iptables-nft-restore",
		"rootfs/usr/sbin/ip6tables":         "ip6tables-nft",
		"rootfs/usr/sbin/ip6tables-save":    "ip6tables-nft-save",
		"rootfs/usr/sbin/ip6tables-restore": "ip6tables-nft-restore",
	}
	for _, path := range []string{
		"usr/sbin/iptables-nft", "usr/sbin/iptables-nft-save", "usr/sbin/iptables-nft-restore", "usr/sbin/iptables-legacy-restore",
		"usr/share/doc/iptables/copyright", "usr/share/doc/libc6/copyright", "usr/lib/x86_64-linux-gnu/xtables", "etc/ethertypes",
		"usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib64/ld-linux-x86-64.so.2", "usr/bin/tool", "usr/sbin/tool",
	} {
		want["rootfs/"+path] = program
	}
	have := tree(t, o.out)
	for name := range maps.Keys(want) {
		if have[name] != want[name] {
			t.Errorf("%s is %q, want %q", name, have[name], want[name])
		}
		delete(have, name)
	}
	if len(have) > 0 {
		t.Errorf("there is more: %v", have)
	}
	for _, dir := range []string{"", "rootfs", "rootfs/proc", "rootfs/sys", "rootfs/dev", "rootfs/run/docker/plugins", "rootfs/var/lib/mybr"} {
		if info, err := os.Stat(filepath.Join(o.out, dir)); err != nil || info.Mode() != fs.ModeDir|0o755 {
			t.Errorf("folder %q: %v, %v", dir, info, err)
		}
	}
	alone(t, o)
}

// alone fails the test if something is left beside the plugin's directory.
func alone(t *testing.T, o options) {
	t.Helper()
	beside, err := os.ReadDir(filepath.Dir(o.out))
	if err != nil {
		t.Fatal(err)
	}
	if len(beside) != 1 {
		t.Errorf("beside it are %v", beside)
	}
}

// A failure leaves the directory that was there before, and names its cause.
func TestFailedAssembleLeavesTheOldDirectory(t *testing.T) {
	good, debs := parts(t)
	damaged := filepath.Join(t.TempDir(), "damaged_1_all.deb")
	write(t, damaged, "!<arch>\n", 0o644)
	root := os.Geteuid() == 0
	for _, c := range []struct {
		name   string
		change func(*options, *[]string)
		want   string
	}{
		{"damaged archive", func(_ *options, debs *[]string) { *debs = append(*debs, damaged) }, "unpack damaged_1_all.deb: "},
		{"no archive", func(_ *options, debs *[]string) { *debs = append(*debs, damaged+"2") }, "unpack damaged_1_all.deb2: "},
		{"no binary", func(o *options, _ *[]string) { o.binary += "2" }, "mybr2 is missing; `make build` makes the binary: "},
		{"no iptables", func(_ *options, debs *[]string) { *debs = (*debs)[1:] }, "in the root file system, /usr/sbin/iptables --version: "},
		{"a missing interpreter", func(o *options, _ *[]string) { write(t, o.binary, "#!/usr/bin/missing\n", 0o755) }, "in the root file system, /usr/bin/mybr version: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.HasPrefix(c.want, "in the root") && !root {
				t.Skip("needs root, for chroot")
			}
			o, debs := good, slices.Clone(debs)
			o.out, o.binary = filepath.Join(t.TempDir(), "build", "plugin"), filepath.Join(t.TempDir(), "mybr")
			if err := copyFile(good.binary, o.binary, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(o.out, "config.json"), "old", 0o644)
			c.change(&o, &debs)
			if err := assemble(o, debs); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if have := tree(t, o.out); len(have) != 1 || have["config.json"] == "" {
				t.Errorf("the directory has %v", have)
			}
			alone(t, o)
		})
	}
}

// A directory that is there already is replaced, not added to.
func TestAssembleReplaces(t *testing.T) {
	o, debs := parts(t)
	write(t, filepath.Join(o.out, "rootfs/usr/bin/old"), "", 0o755)
	if err := assemble(o, debs); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.out, "rootfs/usr/bin/old")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was there before is there still: %v", err)
	}
	alone(t, o)
}

// What apt prints is read: lines of archives, and nothing else.
func TestPrintedArchives(t *testing.T) {
	const printed = `Reading package lists...
The following NEW packages will be installed:
  iptables libc6
'http://deb.debian.org/debian/pool/main/i/iptables/iptables_1.8.9-2_amd64.deb' iptables_1.8.9-2_amd64.deb 360968 SHA256:0
'http://deb.debian.org/debian/pool/main/n/netbase/netbase_1%3a6.4_all.deb' netbase_1%3a6.4_all.deb 12828 SHA256:0
'http://deb.debian.org/debian/dists/bookworm/InRelease' deb.debian.org_InRelease 0
`
	have := printedArchives(printed)
	if want := []string{"iptables_1.8.9-2_amd64.deb", "netbase_1%3a6.4_all.deb"}; !slices.Equal(have, want) {
		t.Errorf("have %q, want %q", have, want)
	}
}

// The Dockerfile makes the same file system: of the same packages, with the same program
// at the same place.
func TestDockerfileMakesTheSame(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile("../config.json")
	if err != nil {
		t.Fatal(err)
	}
	find := func(text []byte, pattern string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m == nil {
			t.Fatalf("nothing is like %s", pattern)
		}
		return string(m[1])
	}
	if have := find(text, `apt-get install -y --no-install-recommends ([^&\\]*?) *\\`); have != defaultPackage {
		t.Errorf("the Dockerfile installs %q, pack %q", have, defaultPackage)
	}
	entry := find(text, `(?m)^ENTRYPOINT (\[.*\])$`)
	if have := find(config, `"entrypoint": (\[.*\])`); have != entry || !strings.HasPrefix(have, `["/usr/bin/mybr"`) {
		t.Errorf("the manifest starts %s, the Dockerfile %s", have, entry)
	}
}
