package firewalld

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/internal/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func applier(b *bus) (*Applier, *[]string) {
	var infos []string
	return &Applier{Address: b.address, Info: func(f string, args ...any) { infos = append(infos, fmt.Sprintf(f, args...)) }}, &infos
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// The zone is made once, with one reload, and what is right is not touched again.
func TestApply(t *testing.T) {
	b := startBus(t, t.TempDir())
	f := startFake(t, b)
	a, infos := applier(b)
	f.locked(func() { f.in["theirs"], f.in["lan0"] = zone, "trusted" })

	must(t, a.Apply(ctx(t), nil, Set{}))
	if calls := f.took(); calls != nil {
		t.Errorf("nothing is wanted, but it called %q", calls)
	}

	want := Set{Interfaces: []string{"br-a", "br-b", "lan0"}}
	must(t, a.Apply(ctx(t), nil, want))
	if got := f.took(); !slices.Contains(got, "add zone docker ACCEPT <nil> <nil>\n") || f.reloaded() != 1 {
		t.Errorf("calls %q, %d reloads", got, f.reloaded())
	}
	if len(*infos) != 2 || !strings.Contains((*infos)[0], "lan0 stays in the zone trusted") {
		t.Errorf("reported %q", *infos)
	}
	expect := map[string]string{"theirs": zone, "lan0": "trusted", "br-a": zone, "br-b": zone}
	if !maps.Equal(f.inZones(), expect) {
		t.Errorf("zones %v, want %v", f.inZones(), expect)
	}

	must(t, a.Apply(ctx(t), nil, want))
	must(t, a.Apply(ctx(t), &want, want))
	if got := strings.Join(f.took(), " "); strings.Contains(got, "add") || strings.Contains(got, "reload") {
		t.Errorf("the second time it called %q", got)
	}

	// A difference: what came goes in, what went comes out if it is still there.
	next := Set{Interfaces: []string{"br-b", "br-c"}}
	must(t, a.Apply(ctx(t), &want, next))
	if got, want := f.took(), []string{"list", "zone of br-c", "add br-c", "zone of br-a", "remove br-a", "zone of lan0"}; !slices.Equal(got, want) {
		t.Errorf("called %q, want %q", got, want)
	}
	must(t, a.Apply(ctx(t), &next, Set{}))
	if expect := map[string]string{"theirs": zone, "lan0": "trusted"}; !maps.Equal(f.inZones(), expect) {
		t.Errorf("zones %v, want %v", f.inZones(), expect)
	}
}

// Zones are asked for without anything being made, and none are there without firewalld.
func TestZones(t *testing.T) {
	b := startBus(t, t.TempDir())
	a, _ := applier(b)
	if of, running, err := a.Zones(ctx(t), []string{"br-a"}); err != nil || running || len(of) > 0 {
		t.Errorf("without firewalld: %v, %v, %v", of, running, err)
	}
	f := startFake(t, b)
	f.locked(func() { f.in["br-a"], f.in["lan0"] = zone, "trusted" })
	of, running, err := a.Zones(ctx(t), []string{"br-a", "lan0", "br-b"})
	want := map[string]string{"br-a": zone, "lan0": "trusted", "br-b": ""}
	if err != nil || !running || !maps.Equal(of, want) {
		t.Errorf("%v, %v, %v; want %v", of, running, err, want)
	}
	if calls := f.took(); slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "add") }) {
		t.Errorf("calls %q", calls)
	}
}

func TestPolicy(t *testing.T) {
	b := startBus(t, t.TempDir())
	f := startFake(t, b)
	a, _ := applier(b)
	plain := Set{Interfaces: []string{"br-a"}}
	must(t, a.Apply(ctx(t), nil, plain))
	if f.knows(policy) {
		t.Error("a policy was made for nothing")
	}
	f.took()
	direct := Set{Interfaces: []string{"br-a"}, Forward: true}
	must(t, a.Apply(ctx(t), &plain, direct))
	if got := f.took(); !slices.Contains(got, "add policy docker-forwarding ACCEPT [ANY] [docker]\n") || !f.knows(policy) {
		t.Errorf("called %q, but there is no policy", got)
	}
	must(t, a.Apply(ctx(t), nil, direct))
	if f.reloaded() != 2 {
		t.Errorf("%d reloads, want one for the zone and one for the policy", f.reloaded())
	}

	f.locked(func() { f.policies = nil }) // a firewalld that has no such thing
	must(t, a.Apply(ctx(t), nil, direct))
}

// dockerd makes the same zone at the same time.
func TestZoneMadeByDockerMeanwhile(t *testing.T) {
	b := startBus(t, t.TempDir())
	f := startFake(t, b)
	a, _ := applier(b)
	f.locked(func() { f.configured["zone"] = append(f.configured["zone"], zone) }) // made, and not reloaded yet
	must(t, a.Apply(ctx(t), nil, Set{Interfaces: []string{"br-a"}}))
	if f.reloaded() != 1 || f.inZones()["br-a"] != zone {
		t.Errorf("%d reloads, zones %v", f.reloaded(), f.inZones())
	}
	// It was deleted since: what needs it makes it again.
	f.locked(func() { f.zones, f.configured["zone"] = f.zones[:2], f.zones[:2] })
	have, want := Set{Interfaces: []string{"br-a"}}, Set{Interfaces: []string{"br-a", "br-b"}}
	must(t, a.Apply(ctx(t), &have, want))
	if f.reloaded() != 2 || f.inZones()["br-b"] != zone {
		t.Errorf("%d reloads, zones %v", f.reloaded(), f.inZones())
	}
}

// What reloads firewalld flushes the rules of all, and the plan says so, also where it is
// a difference; the rest doesn't.
func TestReloadRenewsEverything(t *testing.T) {
	b := startBus(t, t.TempDir())
	f := startFake(t, b)
	a, _ := applier(b)
	var have *Set
	for _, c := range []struct {
		name    string
		want    Set
		changes string
		renews  bool
	}{
		{"first bridge", Set{Interfaces: []string{"br-a"}}, "make the zone docker, reload, put br-a into the zone docker", true},
		{"second bridge", Set{Interfaces: []string{"br-a", "br-b"}}, "put br-b into the zone docker", false},
		{"one that is entered", Set{Interfaces: []string{"br-a", "br-b", "br-c"}, Forward: true}, "make the policy docker-forwarding, reload, put br-c into the zone docker", true},
		{"another one", Set{Interfaces: []string{"br-a", "br-b", "br-c", "br-d"}, Forward: true}, "put br-d into the zone docker", false},
		{"a bridge less", Set{Interfaces: []string{"br-a", "br-b", "br-c"}, Forward: true}, "take br-d out of the zone docker, if it is there", false},
		{"the same", Set{Interfaces: []string{"br-a", "br-b", "br-c"}, Forward: true}, "", false},
	} {
		p, err := a.Plan(ctx(t), have, c.want)
		must(t, err)
		if got := strings.ReplaceAll(strings.Join(p.Changes(), ", "), "firewalld: ", ""); got != c.changes {
			t.Errorf("%s: planned %q, want %q", c.name, got, c.changes)
		}
		if _, all := p.Renewed(); all != c.renews {
			t.Errorf("%s: everything is made anew: %t", c.name, all)
		}
		must(t, p.Do(ctx(t)))
		if p, err := a.Plan(ctx(t), nil, c.want); err != nil || len(p) > 0 {
			t.Errorf("%s: still to be done: %q, %v", c.name, p.Changes(), err)
		}
		have = &c.want
	}
	f.took()
}

// firewalld's errors are those of the bridges that it is asked about: it isn't asked about
// those that are in the zone.
func TestErrorsAreTheBridges(t *testing.T) {
	dir := t.TempDir()
	b := startBus(t, dir)
	f := startFake(t, b)
	a, _ := applier(b)
	have := Set{Interfaces: []string{"br-a"}}
	must(t, a.Apply(ctx(t), nil, have))
	f.took()
	want := Set{Interfaces: []string{"br-a", "br-b", "br-c"}, Forward: true}
	blamed := func(when string, err error) {
		t.Helper()
		subjects, rest := plan.Blame(err)
		if rest != nil || len(subjects) != 2 || subjects[0].Subject != "br-b" || subjects[1].Subject != "br-c" {
			t.Errorf("%s: blamed %v, rest %v", when, subjects, rest)
		}
	}
	f.locked(func() { f.failure = errors.New("RUNNING_BUT_FAILED") })
	blamed("it fails", a.Apply(ctx(t), &have, want))
	f.locked(func() { f.failure, f.noPolicy = nil, true })
	blamed("the policy can't be made", a.Apply(ctx(t), &have, want))
	if in := f.inZones(); in["br-b"] != "" || in["br-c"] != "" {
		t.Errorf("they are in the zone, and nothing is let in: %v", in)
	}
	blamed("nothing is known", a.Apply(ctx(t), nil, Set{Interfaces: []string{"br-b", "br-c"}, Forward: true}))

	hang := make(chan struct{})
	defer close(hang)
	f.locked(func() { f.hang, f.noPolicy = hang, false })
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	blamed("it hangs", a.Apply(short, &have, want))
	deaf, err := net.Listen("unix", filepath.Join(dir, "deaf"))
	must(t, err)
	defer deaf.Close()
	short, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	blamed("the bus is deaf", (&Applier{Address: "unix:path=" + filepath.Join(dir, "deaf")}).Apply(short, &have, want))
	must(t, a.Apply(ctx(t), &have, have)) // it isn't asked
}

func TestSubjects(t *testing.T) {
	s := Set{Interfaces: []string{"br-a", "br-b"}, Forward: true}
	if got := slices.Sorted(maps.Keys(s.Subjects())); !slices.Equal(got, s.Interfaces) {
		t.Errorf("subjects %q", got)
	}
	only := s.Only(func(name string) bool { return name == "br-b" })
	if !slices.Equal(only.Interfaces, []string{"br-b"}) || !only.Forward || len(s.Interfaces) != 2 {
		t.Errorf("only %+v of %+v", only, s)
	}
}

func TestErrors(t *testing.T) {
	b := startBus(t, t.TempDir())
	f := startFake(t, b)
	a, _ := applier(b)
	f.locked(func() { f.failure = errors.New("RUNNING_BUT_FAILED") })
	err := a.Apply(ctx(t), &Set{Interfaces: []string{"br-a"}}, Set{Interfaces: []string{"br-b"}})
	for _, part := range []string{"put br-b into the zone docker: RUNNING_BUT_FAILED", "take br-a out of the zone docker: RUNNING"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not contain %q", err, part)
		}
	}
}

// Where there is no firewalld, nothing is done and nothing fails.
func TestAbsent(t *testing.T) {
	dir := t.TempDir()
	want := Set{Interfaces: []string{"br-a"}}
	a := &Applier{Address: "unix:path=" + filepath.Join(dir, "bus")}
	must(t, a.Apply(ctx(t), nil, want))
	b := startBus(t, dir)
	must(t, a.Apply(ctx(t), nil, want))
	f := startFake(t, b)
	must(t, a.Apply(ctx(t), nil, want))
	f.disown()
	f.took()
	must(t, a.Apply(ctx(t), nil, want))
	if calls := f.took(); calls != nil {
		t.Errorf("called %q", calls)
	}
	b.stop()
	must(t, a.Apply(ctx(t), nil, want))
}

// Neither a firewalld nor a bus that doesn't answer holds a pass for longer than ctx.
func TestHanging(t *testing.T) {
	dir := t.TempDir()
	b := startBus(t, dir)
	f := startFake(t, b)
	hang := make(chan struct{})
	defer close(hang)
	f.locked(func() { f.hang = hang })
	deaf, err := net.Listen("unix", filepath.Join(dir, "deaf"))
	must(t, err)
	defer deaf.Close()
	given := errors.New("given up")
	for _, address := range []string{b.address, "unix:path=" + filepath.Join(dir, "deaf")} {
		short, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, given)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- (&Applier{Address: address}).Apply(short, nil, Set{Interfaces: []string{"br-a"}}) }()
		select {
		case err := <-done:
			if !errors.Is(err, given) {
				t.Errorf("%s: %v", address, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: Apply hangs", address)
		}
	}
}
