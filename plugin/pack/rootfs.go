package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// skeleton makes the directories that no package brings: those that the engine
// mounts on, and the merged /usr layout, which packages of every release of
// Debian and Ubuntu since 2019 unpack into.
func skeleton(root string) error {
	for _, dir := range []string{"dev", "proc", "sys", "run/docker/plugins", "tmp", "etc", "var/lib/mybr", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", dir), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	return nil
}

// unpack extracts the archives. `dpkg-deb -x` would put directories in the place
// of the links that skeleton made, so tar is asked to keep them.
func unpack(root string, debs []string) error {
	for _, deb := range debs {
		dpkg := exec.Command("dpkg-deb", "--fsys-tarfile", deb)
		tar := exec.Command("tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", root)
		var dpkgErrors, tarErrors strings.Builder
		dpkg.Stderr, tar.Stderr = &dpkgErrors, &tarErrors
		pipe, err := dpkg.StdoutPipe()
		if err != nil {
			return err
		}
		tar.Stdin = pipe
		if err := dpkg.Start(); err != nil {
			return err
		}
		err = errors.Join(tar.Run(), dpkg.Wait())
		if err != nil {
			return fmt.Errorf("unpack %s: %w: %s%s", filepath.Base(deb), err, dpkgErrors.String(), tarErrors.String())
		}
	}
	return nil
}

// alternatives makes the names that update-alternatives(1) would: the nf_tables
// variant is Debian's and Ubuntu's default.
func alternatives(root string) error {
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			link := filepath.Join(root, "usr/sbin", name+suffix)
			if _, err := os.Lstat(link); err == nil {
				continue
			}
			if err := os.Symlink(name+"-nft"+suffix, link); err != nil {
				return err
			}
		}
	}
	return nil
}

// prune removes what no program in the plugin reads. The copyright files stay:
// their licences ask for that.
func prune(root string) error {
	for _, pattern := range []string{
		"usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bug", "usr/share/info",
		"usr/lib/*/gconv", "usr/lib/*/audit", "usr/lib/systemd", "etc/cron*", "etc/systemd",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	doc := filepath.Join(root, "usr/share/doc")
	return filepath.WalkDir(doc, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "copyright" {
			return err
		}
		return os.Remove(path)
	})
}

// list writes down which packages the root file system is made of, by name, version and
// processor: who learns of a mistake in one of them finds out whether the plugin has it.
func list(root string, debs []string) error {
	var names []string
	for _, deb := range debs {
		name := strings.TrimSuffix(filepath.Base(deb), ".deb")
		names = append(names, strings.ReplaceAll(name, "%3a", ":")+"\n") // as apt names the file of a version with an epoch
	}
	slices.Sort(names)
	dir := filepath.Join(root, "usr/share/doc/mybr")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "packages"), []byte(strings.Join(names, "")), 0o644)
}

// programs are what mybr runs in the root file system, and mybr.
func programs() [][]string {
	return [][]string{
		{"/usr/sbin/iptables", "--version"},
		{"/usr/sbin/iptables-nft-restore", "--version"},
		{"/usr/sbin/iptables-legacy-restore", "--version"},
		{"/usr/bin/mybr", "version"},
	}
}

// check runs the programs inside the root file system, so that a missing library
// is found here and not when the plugin is enabled. It needs root for chroot(2).
// They run in a network namespace of their own, for ten seconds at most: whatever
// they do, the host's network isn't theirs. Those of another processor are looked at.
func check(root, arch string) error {
	if arch != runtime.GOARCH {
		return inspect(root, arch)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "pack: not root, so the programs in the root file system were not tried")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, words := range programs() {
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Dir = "/"
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("in the root file system, %s: %w: %s", strings.Join(words, " "), err, out)
		}
	}
	return nil
}
