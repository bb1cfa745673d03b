package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// download fetches the packages and everything they depend on, and returns the
// paths of the archives. apt checks their signatures and hashes.
//
// The package lists that the machine has are used as they are; where there are
// none, or where they name archives that are gone, fresh ones are fetched below
// cache. Nothing is installed and nothing outside cache is written: that apt works for
// another processor is a matter of its options, dpkg's list of foreign ones stays as it is.
func download(cache, arch string, packages []string) ([]string, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"archives/partial", "lists/partial"} {
		if err := os.MkdirAll(filepath.Join(cache, dir), 0o755); err != nil {
			return nil, err
		}
	}
	// An empty list of installed packages makes apt choose the whole closure.
	status := filepath.Join(cache, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, err
	}
	base := []string{
		"-q", "-y",
		"-o", "Dir::State::status=" + status,
		"-o", "Dir::Cache::archives=" + filepath.Join(cache, "archives"),
		"-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
		"-o", "Debug::NoLocking=1", // locks are for those who change the system
		"-o", "APT::Sandbox::User=root",
		"-o", "APT::Install-Recommends=0",
		"-o", "APT::Architecture=" + debianName(arch),
		"-o", "APT::Architectures::=" + debianName(arch), // else apt asks dpkg
	}
	debs, err := fetch(cache, base, packages)
	if err == nil {
		return debs, nil
	}
	fmt.Fprintln(os.Stderr, "pack: fetching fresh package lists")
	base = append(base, "-o", "Dir::State::lists="+filepath.Join(cache, "lists"))
	if _, upErr := apt(base, "update"); upErr != nil {
		return nil, errors.Join(err, upErr)
	}
	return fetch(cache, base, packages)
}

// uriLine is a line of `apt-get --print-uris`: 'URI' file size hash.
var uriLine = regexp.MustCompile(`(?m)^'[^']+' (\S+\.deb) `)

// printedArchives returns the file names in the output of `apt-get --print-uris`.
func printedArchives(printed string) (names []string) {
	for _, m := range uriLine.FindAllStringSubmatch(printed, -1) {
		names = append(names, m[1])
	}
	return names
}

// fetch asks apt which archives the packages need, then has it download them.
func fetch(cache string, base, packages []string) ([]string, error) {
	archives := filepath.Join(cache, "archives")
	// Archives that are in the cache already aren't printed, so the question is
	// asked with an empty one.
	empty := filepath.Join(cache, "none")
	if err := os.MkdirAll(filepath.Join(empty, "partial"), 0o755); err != nil {
		return nil, err
	}
	ask := append(append([]string{}, base...), "-o", "Dir::Cache::archives="+empty, "--print-uris", "install")
	out, err := apt(ask, packages...)
	if err != nil {
		return nil, err
	}
	var debs []string
	for _, name := range printedArchives(out) {
		debs = append(debs, filepath.Join(archives, name))
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("apt-get found no archive for %s", strings.Join(packages, ", "))
	}
	get := append(append([]string{}, base...), "--download-only", "install")
	if _, err := apt(get, packages...); err != nil {
		return nil, err
	}
	return debs, nil
}

// apt runs apt-get in the C locale and returns its standard output.
func apt(options []string, words ...string) (string, error) {
	cmd := exec.Command("apt-get", append(append([]string{}, options...), words...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("the root file system is made of Debian packages, and apt-get is not here: build it with the Dockerfile instead (make plugin-docker): %w", err)
	}
	if err != nil {
		return "", fmt.Errorf("apt-get %s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// debianName is Debian's name of a processor that Go names so (dpkg-architecture(1)).
func debianName(arch string) string {
	if name, other := map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}[arch]; other {
		return name
	}
	return arch
}
