// Command pack builds the directory that `docker plugin create` takes: the
// manifest config.json and a root file system with mybr and iptables in it.
//
// The root file system comes from the packages of the Debian or Ubuntu that this
// runs on, so no image registry is needed: apt resolves iptables and all it
// depends on against an empty package list, and the archives are unpacked.
//
// Be aware: maintainer scripts are not run, so what they would set up (the
// alternatives of iptables) is made here. The Dockerfile makes the same file
// system where a registry can be reached; the two must offer the same commands. The
// programs of another processor can't be tried: it is only looked whether they are for it,
// and have their libraries.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// defaultPackage is what mybr runs; the Dockerfile installs it too.
const defaultPackage = "iptables"

type options struct {
	binary   string
	config   string
	out      string
	cache    string
	arch     string // as Go names it
	packages []string
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/mybr", "the static mybr binary")
	flag.StringVar(&o.config, "config", "plugin/config.json", "the plugin's manifest")
	flag.StringVar(&o.out, "out", "build/plugin", "the directory to make; what is there is replaced")
	flag.StringVar(&o.cache, "cache", "build/apt", "where downloaded packages are kept")
	flag.StringVar(&o.arch, "arch", "", "the processor that the plugin is for, as Go names it; empty: this machine's")
	flag.Parse()
	syscall.Umask(0o022) // what is packed has the same modes, whoever packs it
	if o.arch == "" {
		o.arch = runtime.GOARCH
	}
	o.packages = flag.Args()
	if len(o.packages) == 0 {
		o.packages = []string{defaultPackage}
	}
	if err := pack(o); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(o options) error {
	debs, err := download(o.cache, o.arch, o.packages)
	if err != nil {
		return err
	}
	return assemble(o, debs)
}

// assemble makes the plugin directory of archives, beside its place, and then moves it
// there, so that a failure leaves what was there before.
func assemble(o options, debs []string) error {
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(o.out), ".plugin-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	root := filepath.Join(tmp, "rootfs")
	steps := []func() error{
		func() error { return skeleton(root) },
		func() error { return unpack(root, debs) },
		func() error { return alternatives(root) },
		func() error { return prune(root) },
		func() error { return list(root, debs) },
		func() error { return copyFile(o.binary, filepath.Join(root, "usr/bin/mybr"), 0o755) },
		func() error { return copyFile(o.config, filepath.Join(tmp, "config.json"), 0o644) },
		func() error { return check(root, o.arch) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(o.out); err != nil {
		return err
	}
	if err := os.Rename(tmp, o.out); err != nil {
		return err
	}
	fmt.Printf("%s: %d packages, %.1f MB\n", o.out, len(debs), float64(size(o.out))/1e6)
	return nil
}

// size adds up the regular files below dir, in bytes.
func size(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum
}

func copyFile(from, to string, mode fs.FileMode) error {
	data, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing; `make build` makes the binary: %w", from, err)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, mode)
}
