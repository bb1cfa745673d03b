package world

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// env is what every process of the world gets: no proxies or settings of the machine's.
func (w *World) env() []string {
	// A program with the race detector else waits for a second when it ends, each mybr command
	// too (https://go.dev/doc/articles/race_detector#Options).
	const race = "GORACE=atexit_sleep_ms=0"
	return []string{"PATH=" + w.path(), "HOME=/root", "LANG=C", "DOCKER_CONFIG=" + filepath.Join(w.dir, "client"), race}
}

// path begins with the directory of the iptables variant. It has only the system's
// own directories: /usr/local may hold a client of another engine's.
func (w *World) path() string {
	if w.cfg.Variant == "" {
		return systemPath
	}
	return w.variantDir() + ":" + systemPath
}

const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin"

func (w *World) lookPath(name string) (string, error) {
	if name == "guest" {
		return w.lab.guest, nil
	}
	if name == "mybr" {
		return w.lab.mybr(w.cfg.Overlay)
	}
	return lookPath(name, w.path(), w.boot.root())
}

// lookPath finds a program below a root directory, whose absolute symbolic links it
// can't follow.
func lookPath(name, path, root string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	if path == "" {
		path = systemPath
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Lstat(filepath.Join(root, file)); err == nil && info.Mode()&(0o111|fs.ModeSymlink) != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not installed (looked in %s)", name, path)
}

func (w *World) variantDir() string { return filepath.Join(w.dir, "iptables") }

// variant makes a directory in which iptables and its kin are the wanted variant's,
// whatever the machine's alternatives are.
func (w *World) variant() error {
	if w.cfg.Variant == "" {
		return nil
	}
	if err := os.MkdirAll(w.variantDir(), 0o755); err != nil {
		return err
	}
	multi, err := lookPath("xtables-"+w.cfg.Variant+"-multi", "", filepath.Join("/", w.debian))
	if err != nil {
		return err
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			if err := os.Symlink(multi, filepath.Join(w.variantDir(), family+suffix)); err != nil {
				return err
			}
		}
	}
	return nil
}
