package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/view"
)

// facts are what several checks look at; each is asked for once.
type facts struct {
	Env

	host    asked[*host]
	process asked[Process]
	view    asked[view.View]
	nets    asked[[]view.Network]
	tables  asked[[]*ruleset]
	native  asked[[]*ruleset]
	docker  map[string]*asked[[]byte]
	sockets asked[[]socket]
	lock    asked[Holder]
	proc    asked[procs]
	before  []Result // of the checks that have looked already
}

// asked is a fact once it was asked for.
type asked[T any] struct {
	done  bool
	value T
	err   error
}

func (a *asked[T]) get(ask func() (T, error)) (T, error) {
	if !a.done {
		a.value, a.err = ask()
		a.done = true
	}
	return a.value, a.err
}

var errNotAsked = errors.New("it is not asked from here")

func (l *look) hostFacts() (*host, error) { return l.host.get(readHost) }

// running asks the running mybr. The error says that none runs, or why it does not answer.
func (l *look) running() (Process, error) {
	return l.process.get(func() (Process, error) {
		if l.Process == nil {
			return Process{}, errNotAsked
		}
		return l.Process(l.ctx)
	})
}

// A pass that is under way ends within a moment, as a rule.
const (
	settlesWithin = 2 * time.Second
	settlesEvery  = 100 * time.Millisecond
)

// settled is what the running mybr says when all could be compared, if that is soon.
func (l *look) settled(p Process) Process {
	for end := time.Now().Add(settlesWithin); p.Unknown != "" && time.Now().Before(end); {
		select {
		case <-l.ctx.Done():
			return p
		case <-time.After(settlesEvery):
		}
		now, err := l.Process(l.ctx)
		if err != nil {
			return p
		}
		p = now
	}
	return p
}

func (l *look) records() (view.View, error) {
	return l.view.get(func() (view.View, error) {
		if l.View == nil {
			return view.View{}, errNotAsked
		}
		return l.View(l.ctx)
	})
}

// networks are those that mybr knows; where it does not run, those whose bridges the host has.
func (l *look) networks() ([]view.Network, error) {
	return l.nets.get(func() ([]view.Network, error) {
		v, err := l.records()
		if err == nil {
			return v.Networks, nil
		}
		h, err := l.hostFacts()
		if err != nil {
			return nil, err
		}
		return h.networks(), nil
	})
}

// networks are those whose bridges have mybr's alias.
func (h *host) networks() (all []view.Network) {
	for _, b := range h.links {
		n, _, ok := model.ParseNetworkAlias(b.alias)
		if !ok {
			continue
		}
		v := view.Network{ID: n.ID, Bridge: b.name, Owned: true, MTU: n.MTU, Internal: n.Internal, ICC: n.ICC, Trusted: n.Trusted}
		for _, f := range model.Families() {
			if s := n.Subnet(f); s.Prefix.IsValid() {
				name := "ipv4"
				if f == model.IPv6 {
					name = "ipv6"
				}
				v.Subnets = append(v.Subnets, view.Subnet{Family: name, Prefix: s.Prefix, Gateway: s.Gateway, Address: s.Address, Masquerade: s.Masquerade})
			}
		}
		for _, p := range h.links {
			if p.master == b.index {
				v.Endpoints++
			}
		}
		all = append(all, v)
	}
	return all
}

// subnet is a network's of a family.
func subnet(n view.Network, ipv6 bool) (netip.Prefix, bool) {
	for _, s := range n.Subnets {
		if s.Prefix.Addr().Is6() == ipv6 {
			return s.Prefix, true
		}
	}
	return netip.Prefix{}, false
}

// ask gets a path of the Docker API.
func (l *look) ask(path string, into any) error {
	if l.docker == nil {
		l.docker = map[string]*asked[[]byte]{}
	}
	if l.docker[path] == nil {
		l.docker[path] = &asked[[]byte]{}
	}
	body, err := l.docker[path].get(func() ([]byte, error) {
		if l.Docker == nil {
			return nil, fmt.Errorf("about Docker: %w", errNotAsked)
		}
		ctx, cancel := context.WithTimeout(l.ctx, dockerWithin)
		defer cancel()
		return l.Docker(ctx, path)
	})
	if err == nil {
		if err = json.Unmarshal(body, into); err != nil {
			err = fmt.Errorf("the answer of Docker to %s: %w", path, err)
		}
	}
	return err
}

// dockerWithin bounds a question to Docker, which answers none of some kinds while it starts a
// container.
const dockerWithin = 5 * time.Second

// short is an ID as Docker's commands print it.
func short(id string) string { return id[:min(12, len(id))] }

// count is "1 container" or "3 containers".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// some joins the first of a list, and says how many more there are.
func some(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
