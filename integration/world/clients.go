package world

import (
	"fmt"
	"path/filepath"
	"strings"
)

// This file is about containers that have the programs of a Debian.

// clientPackages are programs that get things from hosts by name.
const clientPackages = "curl git golang-go npm openssl python3-pip"

// clientDirs are mounted into a container, each with its own changes; clientLinks are directories of
// the first one that have a name of their own too (/bin is /usr/bin: Debian's usrmerge).
var (
	clientDirs  = []string{"usr", "etc", "var"}
	clientLinks = []string{"bin", "sbin", "lib", "lib64"}
)

// Clients runs a container with the programs of a Debian and /guest, which does nothing, with the
// given arguments of docker run, and trusts the authorities of these certificates, files of the host,
// as its administrator would have it. What it changes is its own, and goes with it. With -short the
// Debian is the machine's, without what it has in /usr/local; otherwise that of build/engines/clients,
// which has curl, git, npm, pip, go and apt, and is made once by debootstrap.
//
// Only a world with the machine's own engine can have it (OwnEngine).
func (w *World) Clients(name string, authorities []string, args ...string) {
	w.t.Helper()
	root := "/"
	if !Short() {
		var skip string
		var err error
		if root, skip, err = debianWith("clients", "trixie", "ca-certificates", clientPackages); err != nil {
			w.t.Fatalf("%v", err)
		} else if skip != "" {
			w.t.Skipf("%s", skip)
		}
	}
	at := "/run/clients-" + name
	for _, dir := range clientDirs {
		top := filepath.Join(at, dir)
		w.Host.Run("mkdir", "-p", top, top+".upper", top+".work")
		w.Host.Run("mount", "-t", "overlay", "overlay", "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s.upper,workdir=%s.work", filepath.Join(root, dir), top, top), top)
		args = append(args, "-v", top+":/"+dir)
	}
	for _, dir := range clientLinks {
		args = append(args, "-v", filepath.Join(at, "usr", dir)+":/"+dir)
	}
	trusted := filepath.Join(at, "usr/local/share/ca-certificates")
	w.Host.Run("rm", "-rf", trusted, filepath.Join(at, "etc/gitconfig")) // settings of the machine's
	w.Host.Run("mkdir", trusted)
	for _, file := range authorities {
		w.Host.Run("cp", file, filepath.Join(trusted, strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))+".crt"))
	}
	w.Idle(name, append(args, "--tmpfs", "/tmp:mode=1777", "--tmpfs", "/root", "-e", "HOME=/root", "-e", "PATH="+systemPath)...)
	w.Docker("exec", name, "update-ca-certificates")
}
