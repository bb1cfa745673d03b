package hostport

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
)

const sandbox = "/var/run/docker/netns/5f4f711ce5c2"

// on is a binding of one endpoint.
func on(link string, b Binding) Binding {
	b.Link = link
	return b
}

// planned makes a plan, which must change nothing, and compares what it would change.
func planned(t *testing.T, m *Manager, have *Set, want Set, changes ...string) plan.Plan {
	t.Helper()
	before := bound(t)
	p, err := m.Plan(t.Context(), have, want)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Changes(); !slices.Equal(got, changes) {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(changes, "\n"))
	}
	if after := bound(t); !slices.Equal(after, before) {
		t.Errorf("the plan alone has changed %v to %v", before, after)
	}
	return p
}

func TestPlanSaysWhatIsToBeChanged(t *testing.T) {
	host := nettest.Process(t)
	host.Run("ip", "link", "add", "int0", "type", "bridge")
	m := start(t, Config{})
	web, dns := on("veth0", binding(sandbox, model.TCP, "0.0.0.0:8080", 80, 3)), on("veth1", binding("e1", model.UDP, "127.0.0.1:53", 53, 1))
	want := set(web, dns)
	open := []string{
		"host ports: open tcp 0.0.0.0:8080-8082 -> 172.30.0.2:80-82 for sandbox " + sandbox,
		"host ports: open udp 127.0.0.1:53 -> 172.30.0.2:53 for endpoint e1",
	}
	planned(t, m, nil, want, open...)
	p := planned(t, m, &Set{}, want, open...)
	if p[0].Subject != "veth0" || p[1].Subject != "veth1" {
		t.Errorf("%+v", p)
	}
	if err := p.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	planned(t, m, nil, want)
	planned(t, m, &want, want)

	// A pending reservation needs no change; one of a wanted port is adopted.
	_, release := reserve(t, m, "e2", request(model.TCP, "0.0.0.0", 9000, 9000, 80))
	planned(t, m, nil, want)
	_, again := reserve(t, m, "e1", request(model.UDP, "127.0.0.1", 53, 53, 53))
	adopt := planned(t, m, &want, want, "host ports: adopt udp 127.0.0.1:53 -> 172.30.0.2:53 for endpoint e1")
	if err := adopt.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	again()
	release()
	planned(t, m, &want, want)

	blocked := Set{Bindings: want.Bindings, Blocked: []string{"int0"}}
	block := []string{
		"host ports: block int0 at tcp 0.0.0.0:8080-8082 -> 172.30.0.2:80-82 for sandbox " + sandbox,
		"host ports: block int0 at udp 127.0.0.1:53 -> 172.30.0.2:53 for endpoint e1",
	}
	if err := planned(t, m, &want, blocked, block...).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	host.Run("ip", "link", "del", "int0")
	host.Run("ip", "link", "add", "int0", "type", "bridge")
	planned(t, m, &blocked, blocked, block...) // another index

	shrunk := set(on("veth0", binding(sandbox, model.TCP, "0.0.0.0:8080", 80, 1)))
	p = planned(t, m, &blocked, shrunk,
		"host ports: close tcp 0.0.0.0:8081-8082 of sandbox "+sandbox,
		"host ports: close udp 127.0.0.1:53 of endpoint e1",
		"host ports: block no link at tcp 0.0.0.0:8080 -> 172.30.0.2:80 for sandbox "+sandbox)
	if err := p.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := bound(t); !slices.Equal(got, []string{"tcp 0.0.0.0:8080"}) {
		t.Error(got)
	}
}

// Requests go on between a plan and its being done.
func TestReservedBetweenPlanAndDo(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	have := set(binding("a", model.TCP, "0.0.0.0:8080", 80, 1), binding("a", model.TCP, "0.0.0.0:8081", 81, 1))
	apply(t, m, have)
	want := set(on("veth1", binding("b", model.TCP, "0.0.0.0:9000", 90, 2)), on("veth2", binding("c", model.TCP, "0.0.0.0:9002", 90, 1)))
	p := planned(t, m, &have, want,
		"host ports: close tcp 0.0.0.0:8080-8081 of endpoint a",
		"host ports: open tcp 0.0.0.0:9000-9001 -> 172.30.0.2:90-91 for endpoint b", "host ports: open tcp 0.0.0.0:9002 -> 172.30.0.2:90 for endpoint c")
	_, again := reserve(t, m, "a", request(model.TCP, "0.0.0.0", 8080, 8080, 80))
	_, other := reserve(t, m, "d", request(model.TCP, "0.0.0.0", 9001, 9001, 80))
	err := p.Do(t.Context())
	subjects, rest := plan.Blame(err)
	if len(subjects) != 1 || subjects[0].Subject != "veth1" || rest != nil || !errors.Is(err, model.ErrConflict) {
		t.Errorf("%v, rest %v", subjects, rest)
	}
	if got, want := fmt.Sprint(bound(t)), "[tcp 0.0.0.0:8080 tcp 0.0.0.0:9000 tcp 0.0.0.0:9001 tcp 0.0.0.0:9002]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	other()
	apply(t, m, want)
	again()
	if got, want := fmt.Sprint(bound(t)), "[tcp 0.0.0.0:9000 tcp 0.0.0.0:9001 tcp 0.0.0.0:9002]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What one endpoint can't have is no error of another one's, and keeps none of its own
// other ports from being held.
func TestOneLinksFailureIsItsOwn(t *testing.T) {
	nettest.Process(t)
	foreign(t, "tcp4", "0.0.0.0:8080")
	m := start(t, Config{})
	err := m.Apply(t.Context(), nil, set(
		on("veth0", binding(sandbox, model.TCP, "0.0.0.0:8080", 80, 1)),
		on("veth0", binding(sandbox, model.TCP, "0.0.0.0:8081", 81, 1)),
		on("veth1", binding("e1", model.TCP, "0.0.0.0:8082", 82, 1)),
	))
	subjects, rest := plan.Blame(err)
	want := "publish tcp 0.0.0.0:8080 -> 172.30.0.2:80 for sandbox " + sandbox + ": failed to bind host port for 0.0.0.0:8080:172.30.0.2:80/tcp: address already in use by " + itself()
	if len(subjects) != 1 || rest != nil || subjects[0].Subject != "veth0" || subjects[0].Error() != want {
		t.Errorf("%v, rest %v", err, rest)
	}
	if got := fmt.Sprint(bound(t)); got != "[tcp 0.0.0.0:8080 tcp 0.0.0.0:8081 tcp 0.0.0.0:8082]" {
		t.Error(got)
	}
}

// A pass for one endpoint costs little for the ports of all others.
func TestPlanPassesOverWhatMatches(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	want := set(binding("a", model.TCP, "127.0.0.1:8000", 80, 1000), binding("b", model.TCP, "127.0.0.1:9000", 80, 1))
	apply(t, m, want)
	planned(t, m, &want, want)
	cost := testing.AllocsPerRun(10, func() {
		if p, err := m.Plan(t.Context(), &want, want); err != nil || len(p) > 0 {
			t.Error(p, err)
		}
	})
	if cost > 20 {
		t.Errorf("a plan without changes allocates %.0f times for 1001 ports", cost)
	}
	more := set(want.Bindings[0], binding("b", model.TCP, "127.0.0.1:9000", 80, 2))
	cost = testing.AllocsPerRun(10, func() {
		if p, err := m.Plan(t.Context(), &want, more); err != nil || len(p) != 1 {
			t.Error(p, err)
		}
	})
	if cost > 60 {
		t.Errorf("a plan for one port allocates %.0f times beside 1001 ports", cost)
	}
}

func TestSubjects(t *testing.T) {
	a, b, c := on("veth0", binding("a", model.TCP, "0.0.0.0:80", 80, 1)), on("veth1", binding("b", model.TCP, "0.0.0.0:81", 80, 1)), on("veth0", binding("c", model.TCP, "0.0.0.0:82", 80, 1))
	s := Set{Bindings: []Binding{a, b, c}, Blocked: []string{"int0"}}
	want := map[string]any{"": Set{Blocked: []string{"int0"}}, "veth0": set(a, c), "veth1": set(b)}
	if got := s.Subjects(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := s.Only(func(subject string) bool { return subject != "veth0" }); !reflect.DeepEqual(got, Set{Bindings: []Binding{b}, Blocked: s.Blocked}) {
		t.Errorf("%+v", got)
	}
	if got := (Set{}).Subjects(); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}

// A listening socket that another program had the kernel destroy holds no port any more. A
// plan that starts from nothing sees it, and mends it.
func TestDestroyedSocketIsOpenedAnew(t *testing.T) {
	host := nettest.Process(t)
	m := start(t, Config{})
	want := set(on("veth0", binding(sandbox, model.TCP, "0.0.0.0:8080", 80, 2)))
	if err := m.Apply(t.Context(), nil, want); err != nil {
		t.Fatal(err)
	}
	planned(t, m, nil, want)
	host.Run("ss", "--kill", "--tcp", "--listening", "sport", "=", ":8081")
	p := planned(t, m, nil, want, "host ports: open tcp 0.0.0.0:8080-8081 -> 172.30.0.2:80-81 for sandbox "+sandbox)
	if err := p.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	planned(t, m, nil, want)
	// One that is reserved too is given back once, and can be reserved again.
	_, release := reserve(t, m, sandbox, request(model.TCP, "0.0.0.0", 8081, 8081, 81))
	host.Run("ss", "--kill", "--tcp", "--listening", "sport", "=", ":8081")
	_, again := reserve(t, m, sandbox, request(model.TCP, "0.0.0.0", 8081, 8081, 81))
	if err := m.Apply(t.Context(), nil, want); err != nil {
		t.Fatal(err)
	}
	host.Run("ss", "--kill", "--tcp", "--listening", "sport", "=", ":8080")
	if err := m.Apply(t.Context(), nil, want); err != nil {
		t.Fatal(err)
	}
	release()
	again()
	planned(t, m, nil, want)
	if _, err := net.Listen("tcp4", "0.0.0.0:8081"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the port is not held: %v", err)
	}
}
