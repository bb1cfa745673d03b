package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The package's version is the tag's, and they sort alike: what comes before a version, and
// what was committed behind it.
func TestDebVersion(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skipf("make need-deb installs what this needs: %v", err)
	}
	last, packages := "", t.TempDir()
	for _, c := range []struct{ tag, version string }{
		{"v1.2.3", "1.2.3"},
		{"v1.2.3-dirty", "1.2.3+dirty"},
		{"v1.3.0-alpha", "1.3.0~alpha"},
		{"v1.3.0-rc.1", "1.3.0~rc.1"},
		{"v1.3.0-rc.1-2-gabcdef012345-dirty", "1.3.0~rc.1+2+gabcdef012345+dirty"},
		{"v1.3.0", "1.3.0"},
		{"v1.3.0-2-gabcdef012345", "1.3.0+2+gabcdef012345"},
	} {
		dir := t.TempDir()
		fake := "#!/bin/sh\ncase $1 in describe) echo " + c.tag + " ;; log) echo 0 ;; esac\n"
		if err := os.WriteFile(filepath.Join(dir, "git"), []byte(fake), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "mybr.8"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("./deb", packages)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "MAKE=true", "MYBR=true", "MAN="+dir, "GOARCH=amd64", "DEB_VERSION=", "SOURCE_DATE_EPOCH=")
		out, err := cmd.Output()
		if have, want := strings.TrimSpace(string(out)), filepath.Join(packages, "mybr_"+c.version+"_amd64.deb"); err != nil || have != want {
			t.Errorf("%s: %v, have %s, want %s", c.tag, err, have, want)
		}
		if last != "" && exec.Command("dpkg", "--compare-versions", last, "lt", c.version).Run() != nil {
			t.Errorf("%s does not come before %s", last, c.version)
		}
		last = c.version
		// apt install mybr_*.deb means the last one.
		if found, err := filepath.Glob(filepath.Join(packages, "*")); err != nil || len(found) != 1 {
			t.Errorf("%s: there are %q, %v", c.tag, found, err)
		}
	}
}

// A checkout that git does not read gives a package that is no upgrade of another one: that is
// said.
func TestDebWithoutGit(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skipf("make need-deb installs what this needs: %v", err)
	}
	if _, err := os.Stat("../.git"); err != nil {
		t.Skipf("this is no checkout: %v", err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"git": "#!/bin/sh\necho 'fatal: dubious ownership' >&2\nexit 128\n", "mybr.8": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("./deb", dir)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "MAKE=true", "MYBR=true", "MAN="+dir, "GOARCH=amd64", "DEB_VERSION=", "SOURCE_DATE_EPOCH=")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "mybr_0~19700101000000+unknown_amd64.deb") {
		t.Errorf("%v, %s", err, out)
	}
	if have := errs.String(); !strings.Contains(have, "dubious ownership") || !strings.Contains(have, "apt does not take it for an upgrade") {
		t.Errorf("says %q", have)
	}
}
