package hostport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

func binding(owner string, proto model.Proto, host string, container int, count uint16) Binding {
	return Binding{Owner: owner, PortBinding: model.PortBinding{
		Proto: proto, Host: netip.MustParseAddrPort(host), Container: at(container), Count: count}}
}

func TestApplyAfterRestartHoldsWhatIsRecorded(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:81")
	foreign(t, "tcp4", "0.0.0.0:8002")
	foreign(t, "tcp4", "0.0.0.0:8003")
	m := start(t, Config{})
	err := m.Apply(t.Context(), nil, set(
		binding("a", model.TCP, "0.0.0.0:8000", 80, 5),
		binding("b", model.TCP, "0.0.0.0:8002", 90, 1),
		binding("b", model.TCP, "127.0.0.1:9001", 90, 1),
		binding("c", model.TCP, "127.0.0.1:9001", 90, 1),
		binding("d", model.UDP, "[::]:9001", 90, 2),
		Binding{Owner: "e", PortBinding: model.PortBinding{Proto: model.TCP, Host: netip.MustParseAddrPort("0.0.0.0:9"), Container: netip.MustParseAddrPort("127.0.0.1:22"), Count: 1}},
		binding("e", model.TCP, "0.0.0.0:65535", 80, 2),
		binding("e", model.TCP, "0.0.0.0:8005", 80, 0),
	))
	want := []string{
		"publish tcp 0.0.0.0:8000-8004 -> 172.30.0.2:80-84 for endpoint a: failed to bind host port for 0.0.0.0:8002:172.30.0.2:82/tcp: address already in use by " + itself() + " (and 1 more of its ports)",
		"publish tcp 0.0.0.0:8002 -> 172.30.0.2:90 for endpoint b: Bind for 0.0.0.0:8002 failed: port is already allocated",
		"publish tcp 127.0.0.1:9001 -> 172.30.0.2:90 for endpoint c: Bind for 127.0.0.1:9001 failed: port is already allocated",
		"publish tcp 0.0.0.0:9 -> 127.0.0.1:22 for endpoint e: invalid address",
		"publish tcp 0.0.0.0:65535-65536 -> 172.30.0.2:80-81 for endpoint e: invalid number of ports 2 (and 1 more of its ports)",
		"publish tcp 0.0.0.0:8005 -> 172.30.0.2:80 for endpoint e: invalid number of ports 0",
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("have\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
	var first *Error
	if !errors.As(err, &first) || first.Binding.Owner != "a" || first.Missing != 2 || !errors.Is(err, model.ErrConflict) {
		t.Errorf("%+v", first)
	}
	held := []string{"tcp 0.0.0.0:8000", "tcp 0.0.0.0:8001", "tcp 0.0.0.0:8002", "tcp 0.0.0.0:8003", "tcp 0.0.0.0:8004",
		"tcp 127.0.0.1:9001", "udp [::]:9001", "udp [::]:9002"}
	if got := bound(t); !slices.Equal(got, held) {
		t.Errorf("have %v\nwant %v", got, held)
	}
	if answer, err := host.Ask("tcp", "127.0.0.1:8001", patience); err != nil || answer.Server != "container" {
		t.Errorf("the rest of the range is not served: %v %v", answer, err)
	}
}

func TestApplyTriesAgain(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	l, err := net.Listen("tcp4", "0.0.0.0:8080")
	if err != nil {
		t.Fatal(err)
	}
	want := set(binding("a", model.TCP, "0.0.0.0:8080", 80, 1))
	if err := m.Apply(t.Context(), nil, want); !errors.Is(err, model.ErrConflict) {
		t.Errorf("%v", err)
	}
	l.Close()
	if err := m.Apply(t.Context(), &want, want); err != nil {
		t.Error(err)
	}
	if got := otherProcess(t, "tcp4", "0.0.0.0:8080"); got != "address already in use" {
		t.Errorf("%q", got)
	}
}

func TestApplyLeavesPendingReservationsAlone(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	m := start(t, Config{})
	bindings, release := reserve(t, m, "a", request(model.TCP, "0.0.0.0", 8080, 8080, 80))
	apply(t, m, Set{})
	apply(t, m, set(binding("b", model.TCP, "0.0.0.0:9090", 80, 1)))
	if got := strings.Join(bound(t), " "); got != "tcp 0.0.0.0:8080 tcp 0.0.0.0:9090" {
		t.Fatal(got)
	}
	apply(t, m, setOf("a", bindings))
	release()
	if answer, err := host.Ask("tcp", "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
		t.Errorf("%v %v", answer, err)
	}
	apply(t, m, Set{})
	if got := bound(t); len(got) > 0 {
		t.Errorf("adopted, then unwanted, but held: %v", got)
	}
}

// An endpoint's ports are revoked and published again while the pass that closes
// them is under way: they stay bound, relay nothing, and can be adopted again.
func TestApplySuspendsWhatIsReservedAgain(t *testing.T) {
	for _, proto := range []model.Proto{model.TCP, model.UDP} {
		t.Run(proto.String(), func(t *testing.T) {
			host, container := withContainer(t)
			container.Echo(proto.String()+"4", "0.0.0.0:80")
			m := start(t, Config{})
			want := publish(t, m, request(proto, "127.0.0.1", 8080, 8080, 80))
			if _, err := host.Ask(proto.String(), "127.0.0.1:8080", patience); err != nil {
				t.Fatal(err)
			}
			_, release := reserve(t, m, "a", request(proto, "127.0.0.1", 8080, 8080, 80))
			s := m.find(keyOf(want.Bindings[0].PortBinding))
			apply(t, m, Set{})
			if m.find(s.key) != s || s.relays() || options(t, s)["filter"] != 1 {
				t.Fatalf("%+v", s)
			}
			apply(t, m, want)
			if answer, err := host.Ask(proto.String(), "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
				t.Errorf("%v %v", answer, err)
			}
			release()
			if m.find(s.key) != s {
				t.Error("released after it was adopted, and gone")
			}
		})
	}
}

func TestApplyMovesAPortToAnotherContainerPortAndOwner(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	m := start(t, Config{})
	apply(t, m, set(binding("a", model.TCP, "0.0.0.0:8080", 99, 1)))
	for _, owner := range []string{"a", "b"} {
		apply(t, m, set(binding(owner, model.TCP, "0.0.0.0:8080", 80, 1)))
		if answer, err := host.Ask("tcp", "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
			t.Errorf("%v %v", answer, err)
		}
		for _, by := range []string{"a", "b"} {
			_, release, err := m.Reserve(by, []model.PortRequest{request(model.TCP, "0.0.0.0", 8080, 8080, 80)})
			if (err == nil) != (by == owner) {
				t.Errorf("%s reserves what is %s's: %v", by, owner, err)
			}
			release()
		}
	}
	// A claim for another container port does not end with the adoption of this one.
	_, release := reserve(t, m, "b", request(model.TCP, "0.0.0.0", 8080, 8080, 81))
	apply(t, m, set(binding("b", model.TCP, "0.0.0.0:8080", 80, 1)))
	apply(t, m, Set{})
	if got := strings.Join(bound(t), " "); got != "tcp 0.0.0.0:8080" {
		t.Errorf("the reservation is lost: %q", got)
	}
	release()
	if got := bound(t); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestClosedManagerRefuses(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	_, release := reserve(t, m, "a", request(model.TCP, "", 80, 80, 80))
	m.Close()
	if _, _, err := m.Reserve("a", nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := m.Apply(t.Context(), nil, Set{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	release()
	m.Close()
	if got := bound(t); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestApplyEndsWithItsContext(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Apply(ctx, nil, set(binding("a", model.TCP, "0.0.0.0:8080", 80, 1))); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := bound(t); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	m := start(t, Config{})
	var mu sync.Mutex
	records := map[string][]model.PortBinding{}
	var have *Set
	pass := func(change func()) error {
		mu.Lock()
		change()
		var want Set
		for owner, bindings := range records {
			want.Bindings = append(want.Bindings, setOf(owner, bindings).Bindings...)
		}
		mu.Unlock()
		err := m.Apply(t.Context(), have, want)
		have = nil
		if err == nil && rand.IntN(4) > 0 {
			have = &want
		}
		return err
	}
	var passes sync.Mutex // the reconciler runs one pass at a time
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			owner := fmt.Sprint("ep", i)
			for range 30 {
				bindings, release, err := m.Reserve(owner, []model.PortRequest{
					request(model.TCP, "", 0, 0, 80), request(model.UDP, "", 9300, 9320, 80)})
				if err != nil {
					t.Error(err)
					return
				}
				passes.Lock()
				err = pass(func() { records[owner] = bindings })
				passes.Unlock()
				release()
				if err != nil {
					t.Error(err)
				}
				if rand.IntN(3) == 0 {
					if answer, err := host.Ask("tcp", fmt.Sprintf("[::1]:%d", bindings[0].Host.Port()), patience); err != nil || answer.Server != "container" {
						t.Error(answer, err)
					}
				}
				passes.Lock()
				if err := pass(func() { delete(records, owner) }); err != nil {
					t.Error(err)
				}
				passes.Unlock()
			}
		})
	}
	wg.Wait()
	if got := bound(t); len(got) > 0 {
		t.Errorf("%v", got)
	}
}
