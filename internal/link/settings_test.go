package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/sysctl"
)

// withSettings is a bridge, and its pair, with the settings that mybr gives them.
func withSettings(n byte) (Bridge, Veth) {
	br := bridge(n)
	br.AcceptRA, br.DisableIPv6 = "0", "0"
	v := veth(n, br)
	v.DisableIPv6 = "1"
	return br, v
}

// watched is the settings of the host; each write is noted, with whether the link was up.
type watched struct {
	sysctl.Applier
	written []string
}

func (w *watched) Set(path, value string) error {
	l, err := kernel{}.getLink(strings.Split(path, "/")[3], 0)
	if err != nil {
		return err
	}
	w.written = append(w.written, fmt.Sprintf("%s=%s up=%v", strings.TrimPrefix(path, "net/ipv6/conf/"), value, l.up))
	return w.Applier.Set(path, value)
}

// A bridge has its settings before it is up and before it gets an IPv6 address, which the
// kernel refuses where IPv6 is off, be the bridge new, taken over, or somebody else's.
func TestSettingsComeFirst(t *testing.T) {
	h := nettest.New(t)
	h.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	plain, _ := withSettings(1)
	plain.V6, plain.DisableIPv6 = netip.Prefix{}, ""
	six, v := withSettings(2)
	theirs := Bridge{Name: "br0", V6: netip.MustParsePrefix("fd00:30::1/64"), DisableIPv6: "0"}
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	h.Run("ip", "link", "set", "br0", "up")
	if errs := refused(t, nil, set([]Bridge{theirs, plain, six})); !errors.Is(errs["br0"], unix.EACCES) || !errors.Is(errs[six.Name], unix.EACCES) || len(errs) != 2 {
		t.Errorf("the test can't fail: %v", errs)
	}
	apply(t, nil, set(nil))

	settings := &watched{}
	a := &Applier{Settings: settings}
	want, more := set([]Bridge{theirs, plain, six}, v), set([]Bridge{theirs, plain, six}, v)
	more.Bridges[1].V6, more.Bridges[1].DisableIPv6 = bridge(1).V6, "0"
	for _, step := range []struct {
		have    *Set
		want    Set
		written string
	}{
		{nil, want, "br0/disable_ipv6=0 up=true, mybr1/accept_ra=0 up=false, mybr2/accept_ra=0 up=false, mybr2/disable_ipv6=0 up=false"},
		{nil, want, ""},
		{&want, more, "mybr1/disable_ipv6=0 up=true"},
	} {
		settings.written = nil
		if err := a.Apply(t.Context(), step.have, step.want); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(settings.written, ", "); got != step.written {
			t.Errorf("written %q, want %q", got, step.written)
		}
		text := dumpText(t, h)
		for _, b := range step.want.Bridges {
			if b.V6.IsValid() && !strings.Contains(text, b.V6.String()+" brd  nodad=true tentative=false") {
				t.Errorf("%s is missing: %s", b.V6, text)
			}
		}
	}
	if got := h.ReadSysctl("net/ipv6/conf/" + v.Host + "/disable_ipv6"); got != "1" {
		t.Errorf("disable_ipv6 of the host end is %s", got)
	}
}

// A setting of a link that is there says what it was; one of a new link says what links
// begin with, and nothing where that is right.
func TestSettingsAreChanges(t *testing.T) {
	h := nettest.New(t)
	br, v := withSettings(1)
	a := &Applier{Settings: &sysctl.Applier{}}
	want := set([]Bridge{br}, v)
	changes := func() []string {
		t.Helper()
		p, err := a.Plan(t.Context(), nil, want)
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(p.Changes(), func(c string) bool { return !strings.HasPrefix(c, "net/") })
	}
	if got, want := changes(), []string{"net/ipv6/conf/mybr1/accept_ra: 1 -> 0", "net/ipv6/conf/veth0000000001/disable_ipv6: 0 -> 1"}; !slices.Equal(got, want) {
		t.Errorf("new links: %q, want %q", got, want)
	}
	h.Sysctl("net/ipv6/conf/default/accept_ra", "0")
	if got, want := changes(), []string{"net/ipv6/conf/veth0000000001/disable_ipv6: 0 -> 1"}; !slices.Equal(got, want) {
		t.Errorf("new links that begin with the right value: %q, want %q", got, want)
	}
	if err := a.Apply(t.Context(), nil, want); err != nil {
		t.Fatal(err)
	}
	h.Sysctl("net/ipv6/conf/mybr1/accept_ra", "2")
	if got, want := changes(), []string{"net/ipv6/conf/mybr1/accept_ra: 2 -> 0"}; !slices.Equal(got, want) {
		t.Errorf("a change of somebody else's: %q, want %q", got, want)
	}
}

// A bridge whose MTU is too small for IPv6 has no such settings; with a larger one it has.
func TestSettingsOfABridgeThatGetsIPv6(t *testing.T) {
	h := nettest.New(t)
	br, _ := withSettings(1)
	br.MTU, br.V6, br.DisableIPv6 = minMTU6-1, netip.Prefix{}, ""
	small, large := set([]Bridge{br}), set([]Bridge{br})
	large.Bridges[0].MTU = minMTU6
	a := &Applier{Settings: &sysctl.Applier{}}
	for _, have := range []*Set{nil, &small} {
		if err := a.Apply(t.Context(), nil, small); err != nil {
			t.Fatal(err)
		}
		if err := a.Apply(t.Context(), have, large); err != nil || h.ReadSysctl("net/ipv6/conf/mybr1/accept_ra") != "0" {
			t.Errorf("accept_ra is %s, %v", h.ReadSysctl("net/ipv6/conf/mybr1/accept_ra"), err)
		}
	}
}

// readOnly mounts the settings of the host read-only and returns where. The calling thread
// gets a mount namespace of its own.
func readOnly(t *testing.T) (root string) {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skip(err)
	}
	root = t.TempDir()
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("/proc/sys", root, "", unix.MS_BIND, ""),
		unix.Mount("", root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
	); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return root
}

// Where settings can't be written, those that are right are no error, those that are not
// needed are warned of, once for each link, and others concern their link alone.
func TestReadOnlySettings(t *testing.T) {
	const hint = "mount /proc/sys writable for the container that mybr runs in, or have the host set "
	for _, c := range []struct {
		name     string
		settings map[string]string // below net/ipv6/conf
		change   func(b *Bridge, v *Veth)
		failed   string // what fails, and the end of the first error
		hint     string
		warnings []string // how they begin
	}{
		{"all are right", map[string]string{"default/accept_ra": "0", "default/disable_ipv6": "1"},
			func(b *Bridge, v *Veth) { b.V6, b.DisableIPv6 = netip.Prefix{}, "1" }, "", "", nil},
		{"a veth with IPv6", map[string]string{"default/accept_ra": "0"},
			func(*Bridge, *Veth) {}, "", "", []string{"write setting net/ipv6/conf/veth0000000001/disable_ipv6: read-only file system; it stays 0 instead of 1, which does no harm: "}},
		{"router advertisements to a host", nil,
			func(_ *Bridge, v *Veth) { v.DisableIPv6 = "" }, "mybr1 veth0000000001",
			"bridge mybr1: write setting net/ipv6/conf/mybr1/accept_ra: read-only file system; it is 1 and must be 0: " + hint + "net.ipv6.conf.default.accept_ra=0, which new links take over", nil},
		{"router advertisements to a router", map[string]string{"all/forwarding": "1"},
			func(_ *Bridge, v *Veth) { v.DisableIPv6 = "" }, "", "",
			[]string{"write setting net/ipv6/conf/mybr1/accept_ra: read-only file system; it stays 1 instead of 0, which does no harm: "}},
		{"router advertisements to a router that wants them", map[string]string{"all/forwarding": "1", "default/accept_ra": "2"},
			func(_ *Bridge, v *Veth) { v.DisableIPv6 = "" }, "mybr1 veth0000000001",
			"must be 0: " + hint + "net.ipv6.conf.default.accept_ra=0, which new links take over", nil},
		{"a bridge that must not have IPv6", map[string]string{"default/accept_ra": "0"},
			func(b *Bridge, v *Veth) { b.V6, b.DisableIPv6, v.DisableIPv6 = netip.Prefix{}, "1", "" }, "mybr1 veth0000000001",
			"it is 0 and must be 1: " + hint + "net.ipv6.conf.default.disable_ipv6=1, which new links take over", nil},
		{"a bridge of somebody else without IPv6", map[string]string{"br0/disable_ipv6": "1"},
			func(b *Bridge, v *Veth) {
				*b = Bridge{Name: "br0", V6: b.V6, DisableIPv6: "0"}
				v.Bridge, v.DisableIPv6 = "br0", ""
			}, "br0 veth0000000001", "it is 1 and must be 0: " + hint + "net/ipv6/conf/br0/disable_ipv6=0", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := nettest.New(t)
			h.Run("ip", "link", "add", "br0", "type", "bridge")
			for path, value := range c.settings {
				h.Sysctl("net/ipv6/conf/"+path, value)
			}
			br, v := withSettings(1)
			c.change(&br, &v)
			other := bridge(2)
			other.V6 = netip.Prefix{}
			want := set([]Bridge{br, other}, v, veth(2, other))
			var warnings []string
			a := &Applier{Settings: &sysctl.Applier{Root: readOnly(t)}, Warn: func(f string, args ...any) { warnings = append(warnings, fmt.Sprintf(f, args...)) }}
			for n := range 2 {
				err := a.Apply(t.Context(), nil, want)
				if c.failed == "" {
					if err != nil {
						t.Fatal(err)
					}
					if p, err := a.Plan(t.Context(), nil, want); err != nil || len(p) > 0 {
						t.Errorf("still to change: %q, %v", p.Changes(), err)
					}
					continue
				}
				var failed []string
				for subject := range blamed(t, err) {
					failed = append(failed, subject)
				}
				slices.Sort(failed)
				if first, _, _ := strings.Cut(err.Error(), "\n"); strings.Join(failed, " ") != c.failed || n == 0 && !strings.HasSuffix(first, c.hint) {
					t.Errorf("%q failed: %v", failed, err)
				} else if setting, _, _ := strings.Cut(strings.SplitAfter(first, "write setting ")[1], ": "); n == 1 && !strings.Contains(first, hint+setting+"=") {
					t.Errorf("the link is there now: %v", first)
				}
			}
			if len(warnings) != len(c.warnings) {
				t.Fatalf("warnings %q", warnings)
			}
			for i, w := range c.warnings {
				if !strings.HasPrefix(warnings[i], w) {
					t.Errorf("warning %q, want %q…", warnings[i], w)
				}
			}
			if _, made := ipLinks(t, h)[veth(2, other).Host]; !made {
				t.Error("another link was not made")
			}
		})
	}
}

// That a setting can be done without is asked each time: it may no longer be so. A link
// that is made anew is warned of anew.
func TestToleratedSettingIsLookedAtAgain(t *testing.T) {
	h := nettest.New(t)
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	br, _ := withSettings(1)
	want, none := set([]Bridge{br}), set(nil)
	warnings := 0
	a := &Applier{Settings: &sysctl.Applier{Root: readOnly(t)}, Warn: func(string, ...any) { warnings++ }}
	for n := 1; n <= 2; n++ {
		if err := a.Apply(t.Context(), nil, want); err != nil || warnings != n {
			t.Fatalf("%d warnings, %v", warnings, err)
		}
		if n == 1 {
			if err := a.Apply(t.Context(), &want, none); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.Sysctl("net/ipv6/conf/mybr1/forwarding", "0")
	p, err := a.Plan(t.Context(), nil, want)
	if got := p.Changes(); err != nil || !slices.Equal(got, []string{"net/ipv6/conf/mybr1/accept_ra: 1 -> 0"}) {
		t.Errorf("%q, %v", got, err)
	}
	if err := p.Do(t.Context()); !errors.Is(err, unix.EROFS) {
		t.Error(err)
	}
}

// countedSettings counts how often settings are read.
type countedSettings struct {
	sysctl.Applier
	read int
}

func (c *countedSettings) Get(path string) (string, error) {
	c.read++
	return c.Applier.Get(path)
}

// The settings of links that are there come with the links: no file is read for any of them.
func TestSettingsComeWithTheLinks(t *testing.T) {
	h := nettest.New(t)
	want := set(nil)
	for n := byte(1); n <= 20; n++ {
		br, v := withSettings(n)
		want.Bridges, want.Veths = append(want.Bridges, br), append(want.Veths, &v)
	}
	settings := &countedSettings{}
	a := &Applier{Settings: settings}
	if err := a.Apply(t.Context(), nil, want); err != nil {
		t.Fatal(err)
	}
	if settings.read == 0 {
		t.Error("the test can't fail: the settings of new links were not read either")
	}
	settings.read = 0
	if p, err := a.Plan(t.Context(), nil, want); err != nil || len(p) > 0 || settings.read != 0 {
		t.Errorf("%d files were read; to change: %q, %v", settings.read, p.Changes(), err)
	}
	h.Sysctl("net/ipv6/conf/mybr7/accept_ra", "2")
	h.Sysctl("net/ipv6/conf/mybr7/disable_ipv6", "1")
	h.Sysctl("net/ipv6/conf/"+want.Veths[4].Host+"/disable_ipv6", "0")
	p, err := a.Plan(t.Context(), nil, want)
	changes := slices.DeleteFunc(p.Changes(), func(c string) bool { return !strings.HasPrefix(c, "net/") })
	if got := []string{"net/ipv6/conf/mybr7/accept_ra: 2 -> 0", "net/ipv6/conf/mybr7/disable_ipv6: 1 -> 0", "net/ipv6/conf/" + want.Veths[4].Host + "/disable_ipv6: 0 -> 1"}; err != nil || !slices.Equal(changes, got) {
		t.Errorf("%q, want %q: %v", changes, got, err)
	}
}
