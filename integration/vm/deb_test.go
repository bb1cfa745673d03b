package vm

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// Two builds of one commit are the same bytes, whatever the umask and the time.
func TestDebIsReproducible(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skipf("make need-deb installs what this needs: %v", err)
	}
	sum := func(umask string) [sha256.Size]byte {
		t.Helper()
		command(t, checkout(t), nil, "make", "bin/mybr")
		path := command(t, checkout(t), nil, "sh", "-ec", "umask "+umask+"; exec scripts/deb '"+t.TempDir()+"'")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) < 1<<20 {
			t.Fatalf("%s has %d bytes", path, len(text))
		}
		return sha256.Sum256(text)
	}
	if first, second := sum("022"), sum("077"); first != second {
		t.Errorf("two builds: %x and %x", first, second)
	}
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
  (cd "$root" && find etc usr var/lib -path usr/share/doc/mybr -prune -o \( -name 'mybr*' -a ! -path 'var/lib/dpkg/*' \) -print | sort)
}
chroot "$root" dpkg -i /root/1.deb
look installed
mkdir "$root/var/lib/mybr"
touch "$root/var/lib/mybr/mybr.db"
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
	units := []string{"usr/lib/systemd/system/mybr.service", "usr/lib/systemd/system/mybr.socket"}
	const config, binary, state = "etc/default/mybr", "usr/bin/mybr", "var/lib/mybr\nvar/lib/mybr/mybr.db"
	const wantedService, wantedSocket = "etc/systemd/system/multi-user.target.wants/mybr.service", "etc/systemd/system/sockets.target.wants/mybr.socket"
	installed := lines(config, wantedService, wantedSocket, binary, units[0], units[1])
	for when, want := range map[string]string{
		"installed": installed,
		"upgraded":  lines(config, binary, units[0], units[1], state), // what the administrator disabled stays so
		"removed":   lines(config, state),
		"purged":    "",
		"again":     installed,
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
		if !regexp.MustCompile(`^(etc|usr|var)/`).MatchString(line) {
			break
		}
		if !strings.HasPrefix(line, "var/lib/systemd/deb-systemd-helper") {
			found.WriteString(line)
		}
	}
	return found.String()
}
