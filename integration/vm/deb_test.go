package vm

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// Two builds of one commit are the same bytes, whatever the directory, the umask and the time.
func TestDebIsReproducible(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skipf("make need-deb installs what this needs: %v", err)
	}
	source := copyCheckout(t)
	sum := func(umask, dir string) [sha256.Size]byte {
		t.Helper()
		dir = filepath.Join(t.TempDir(), dir)
		command(t, source, nil, "sh", "-ec", `mkdir -p "$1" && cp -R . "$1"`, "-", dir)
		command(t, dir, []string{"SOURCE_DATE_EPOCH=1764075600", "DEB_VERSION=1.2.3"},
			"sh", "-ec", "umask "+umask+"; exec make -s deb VERSION=1.2.3 COMMIT=abcdefabcdef")
		found, err := filepath.Glob(filepath.Join(dir, "build/deb/mybr_1.2.3_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("made are %q, %v", found, err)
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		if len(text) < 1<<20 {
			t.Fatalf("%s has %d bytes", found[0], len(text))
		}
		return sha256.Sum256(text)
	}
	if first, second := sum("022", "one"), sum("077", "in/another"); first != second {
		t.Errorf("two builds: %x and %x", first, second)
	}
}

// A release is the same bytes wherever it is built: packages, plugins and lists of what is
// in them, for each processor; and its sums are those of its files.
func TestReleaseIsReproducible(t *testing.T) {
	world.Full(t)
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skipf("make need-deb installs what this needs: %v", err)
	}
	source := copyCheckout(t)
	sums := func(umask, dir string) string {
		t.Helper()
		dir = filepath.Join(t.TempDir(), dir)
		command(t, source, nil, "sh", "-ec", `mkdir -p "$1" && cp -R . "$1"`, "-", dir)
		command(t, dir, []string{"SOURCE_DATE_EPOCH=1764075600", "DEB_VERSION=1.2.3"},
			"sh", "-ec", "umask "+umask+"; exec make -s release VERSION=v1.2.3")
		return command(t, filepath.Join(dir, "build/release"), nil, "sh", "-ec", "sha256sum --check --strict --quiet SHA256SUMS; cat SHA256SUMS")
	}
	first, second := sums("022", "one"), sums("077", "in/another")
	if first != second {
		t.Errorf("two builds:\n%s\nand\n%s", first, second)
	}
	var names []string
	for line := range strings.Lines(first + "\n") {
		names = append(names, strings.Fields(line)[1])
	}
	want := []string{
		"mybr-plugin_v1.2.3_linux_amd64.tar.gz", "mybr-plugin_v1.2.3_linux_arm64.tar.gz",
		"mybr_1.2.3_amd64.deb", "mybr_1.2.3_arm64.deb",
		"mybr_v1.2.3_linux_amd64", "mybr_v1.2.3_linux_amd64.cdx.json", "mybr_v1.2.3_linux_arm64", "mybr_v1.2.3_linux_arm64.cdx.json",
	}
	if !slices.Equal(names, want) {
		t.Errorf("a release has %q, want %q", names, want)
	}
}

// copyCheckout copies what is versioned, as it is in the working tree, to a new directory,
// where no git knows of it, and nobody changes it.
func copyCheckout(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	command(t, checkout(t), nil, "bash", "-euo", "pipefail", "-c",
		`git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$1"`, "-", dir)
	return dir
}

// TestDeb installs, upgrades, removes and purges the package where no systemd runs, as an
// image builder does.
func TestDeb(t *testing.T) {
	world.Full(t)
	base, first, second := debian(t), makeDeb(t, "1"), makeDeb(t, "2")
	out := privately(t, "bash", "-euo", "pipefail", "-c", `
base=$1 first=$2 second=$3 dir=$4
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive
mount -t tmpfs tmpfs "$dir"
mkdir "$dir"/{upper,work,root}
root=$dir/root
mount -t overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" overlay "$root"
mount -t proc proc "$root/proc"
cp "$first" "$root/root/1.deb"
cp "$second" "$root/root/2.deb"
look() { # what is there of mybr
  echo "== $1"
  (cd "$root" && find etc run usr var/lib \( -path usr/share/doc/mybr -o -name 'mybr-*.8.gz' \) -prune -o \( \( -name 'mybr*' -o -name _mybr \) -a ! -path 'var/lib/dpkg/*' \) -print | sort)
}
chroot "$root" dpkg -i /root/1.deb
look installed
echo "== documents"
(cd "$root" && find usr/share/doc/mybr -name doctor.md -o -name README.md | sort)
echo "== examples"
(cd "$root" && find usr/share/doc/mybr/examples -type f | sort)
mkdir "$root/var/lib/mybr" "$root/run/mybr" # the unit keeps both (RuntimeDirectoryPreserve)
touch "$root/var/lib/mybr/mybr.db" "$root/run/mybr/records.db"
echo MYBR_LOG_LEVEL=debug >>"$root/etc/default/mybr"
chroot "$root" systemctl --quiet disable mybr.service # and the socket: Also=
chroot "$root" dpkg -i /root/2.deb
look upgraded
grep MYBR_LOG_LEVEL=debug "$root/etc/default/mybr"
chroot "$root" dpkg -r mybr
look removed
chroot "$root" dpkg -P mybr
look purged
chroot "$root" dpkg -i /root/2.deb
look again
`, "-", base, first, second, t.TempDir())
	const units = "usr/lib/systemd/system/"
	const config, binary, copied, state = "etc/default/mybr", "usr/bin/mybr", "run/mybr", "var/lib/mybr\nvar/lib/mybr/mybr.db"
	const wantedService, wantedSocket = "etc/systemd/system/multi-user.target.wants/mybr.service", "etc/systemd/system/sockets.target.wants/mybr.socket"
	const examples = "usr/share/doc/mybr/examples/"
	const wantedProxy = "etc/systemd/system/sockets.target.wants/mybr-docker-proxy.socket"
	program := lines(binary, units+"mybr-docker-proxy.service", units+"mybr-docker-proxy.socket", units+"mybr.service", units+"mybr.socket", "usr/share/bash-completion/completions/mybr",
		"usr/share/fish/vendor_completions.d/mybr.fish", "usr/share/man/man8/mybr.8.gz", "usr/share/zsh/vendor-completions/_mybr")
	installed := lines(config, wantedService, wantedProxy, wantedSocket) + program
	for when, want := range map[string]string{
		"installed": installed,
		"upgraded":  lines(config, wantedProxy, copied) + program + lines(state), // what the administrator disabled stays so
		"removed":   lines(config, wantedProxy, copied, state),                   // that a unit was enabled is kept until the purge
		"purged":    "",
		"again":     installed,
		"documents": lines("usr/share/doc/mybr/README.md", "usr/share/doc/mybr/docs/doctor.md"),
		"examples":  lines(examples+"grafana/mybr.json", examples+"prometheus/mybr.rules.yml", examples+"prometheus/prometheus.yml"),
	} {
		if have := listed(out, when); have != want {
			t.Errorf("%s: there are\n%s\nwant\n%s", when, have, want)
		}
	}
	if !strings.Contains(out, "\nMYBR_LOG_LEVEL=debug\n") {
		t.Errorf("the upgrade has changed the settings:\n%s", out)
	}
}

func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }

// listed is the paths of mybr's files behind a headline; systemd's own records of units are
// no concern of an administrator's while the package is installed.
func listed(out, headline string) string {
	_, part, _ := strings.Cut(out, "== "+headline+"\n")
	var found strings.Builder
	for line := range strings.Lines(part) {
		if !regexp.MustCompile(`^(etc|run|usr|var)/`).MatchString(line) {
			break
		}
		if !strings.HasPrefix(line, "var/lib/systemd/deb-systemd-helper") {
			found.WriteString(line)
		}
	}
	return found.String()
}
