package link

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// Settings reads and writes kernel settings, each named by its path below /proc/sys, such
// as "net/ipv6/conf/br0/accept_ra". The error of a path that does not exist is
// fs.ErrNotExist.
type Settings interface {
	Get(path string) (string, error)
	Set(path, value string) error
}

// DefaultSetting is a setting that new links take over: where it can't be written, theirs
// can't either.
const DefaultSetting = "net/ipv6/conf/default/accept_ra"

// The settings of links, by their files' names.
const (
	acceptRA    = "accept_ra"
	disableIPv6 = "disable_ipv6"
)

// setting is one IPv6 setting of a link (ip-sysctl.rst).
type setting struct {
	link, name, want string

	// needless says why the link does well without the setting, given its value; "": it does not.
	needless func(a *Applier, have string) string
}

// conf returns the path of an IPv6 setting of a link.
func conf(link, name string) string { return "net/ipv6/conf/" + link + "/" + name }

func (s setting) path() string { return conf(s.link, s.name) }

// settings lists what the bridge wants.
func (b Bridge) settings() []setting {
	// With 1 a link takes router advertisements only if it does not forward (ip-sysctl.rst).
	forwards := func(a *Applier, have string) string {
		forwarding, err := a.Settings.Get(conf(b.Name, "forwarding"))
		if err == nil && forwarding == "1" && have == "1" && b.AcceptRA == "0" {
			return "a link that forwards IPv6 takes no router advertisements with 1 either"
		}
		return ""
	}
	needed := func(*Applier, string) string { return "" }
	return []setting{{b.Name, acceptRA, b.AcceptRA, forwards}, {b.Name, disableIPv6, b.DisableIPv6, needed}}
}

// settings lists what the pair's host end wants.
func (v Veth) settings() []setting {
	tidy := func(*Applier, string) string { return "it only keeps a link-local address off a bridge port" }
	return []setting{{v.Host, disableIPv6, v.DisableIPv6, tidy}}
}

// settings plans to write those that a link has otherwise. A link that the work makes
// (index 0) begins with the values of net/ipv6/conf/default.
func (p *planner) settings(w *work, l found, all []setting) error {
	for _, s := range all {
		if p.Settings == nil || s.want == "" {
			continue
		}
		have, err := p.value(l, s)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a kernel or a link without IPv6 has no use for it
			if len(w.acts) == 0 { // else the link may get IPv6 now, with its new MTU
				continue
			}
		case err != nil:
			return err
		case l.index != 0 && (have == s.want || p.isTolerated(s, have)):
			continue
		}
		w.do(func() error { return p.write(s, l.index == 0) })
		if err == nil && have != s.want {
			w.changes = append(w.changes, fmt.Sprintf("%s: %s -> %s", s.path(), have, s.want))
		}
	}
	return nil
}

// value is what a link has, which the kernel has told with the link; one that the work makes
// will have the default.
func (p *planner) value(l found, s setting) (string, error) {
	if l.index == 0 {
		return p.Settings.Get(conf("default", s.name))
	}
	if !l.has6 {
		return "", fs.ErrNotExist
	}
	switch s.name {
	case acceptRA:
		return strconv.Itoa(int(l.conf.acceptRA)), nil
	case disableIPv6:
		return strconv.Itoa(int(l.conf.disableIPv6)), nil
	}
	return p.Settings.Get(s.path())
}

// write gives a link a setting, unless it has it; made says that the link is new. Where that
// is not allowed and the link does well without it, Warn is told, once.
func (a *Applier) write(s setting, made bool) error {
	have, err := a.Settings.Get(s.path())
	if err == nil && have != s.want {
		err = a.Settings.Set(s.path(), s.want)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // a kernel or a link without IPv6 has no use for it
		return nil
	case !denied(err):
		return err
	}
	if why := s.needless(a, have); why != "" {
		if a.tolerate(s.path()) && a.Warn != nil {
			a.Warn("%v; it stays %s instead of %s, which does no harm: %s", err, have, s.want, why)
		}
		return nil
	}
	remedy := s.path() + "=" + s.want
	if made {
		remedy = fmt.Sprintf("net.ipv6.conf.default.%s=%s, which new links take over", s.name, s.want)
	}
	return fmt.Errorf("%w; it is %s and must be %s: mount /proc/sys writable for the container that mybr runs in, or have the host set %s",
		err, have, s.want, remedy)
}

// denied reports whether a setting is there and must not be written: many containers have
// /proc/sys mounted read-only, or a user namespace that does not own it.
func denied(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}

// tolerate notes that a setting could not be written and is not needed. It reports whether
// that is news.
func (a *Applier) tolerate(path string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tolerated[path] {
		return false
	}
	if a.tolerated == nil {
		a.tolerated = map[string]bool{}
	}
	a.tolerated[path] = true
	return true
}

// isTolerated reports whether a setting could not be written before, and still is not needed.
func (a *Applier) isTolerated(s setting, have string) bool {
	a.mu.Lock()
	known := a.tolerated[s.path()]
	a.mu.Unlock()
	return known && s.needless(a, have) != ""
}

// dropTolerated drops what is noted about the settings of a link that is no longer wanted.
func (a *Applier) dropTolerated(all []setting) {
	for _, s := range all {
		a.forget(s.path())
	}
}

// forget undoes tolerate.
func (a *Applier) forget(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tolerated, what)
}
