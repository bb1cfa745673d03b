package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
)

// What only went is looked for later, unless it is in the way of what comes.
func TestCanWait(t *testing.T) {
	a, b := netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("172.18.0.3")
	one, two := Endpoint{ID: "1", V4: a}, Endpoint{ID: "2", V4: b}
	dns := udp("0.0.0.0:53 172.18.0.2:53", 1)
	web := dns
	web.Proto = model.TCP
	relayed := udp("[::]:53 172.18.0.2:53", 1)
	for name, c := range map[string]struct {
		have, want Set
		later      bool
	}{
		"nothing":                           {have: Set{Endpoints: []Endpoint{one}}, want: Set{Endpoints: []Endpoint{one}}},
		"a container":                       {have: Set{Endpoints: []Endpoint{one, two}}, want: Set{Endpoints: []Endpoint{two}}, later: true},
		"a UDP port":                        {have: Set{Bindings: ports(dns)}, later: true},
		"a TCP port":                        {have: Set{Bindings: ports(web)}},
		"an address that is another's now":  {have: Set{Endpoints: []Endpoint{one}}, want: Set{Endpoints: []Endpoint{{ID: "3", V4: a}}}},
		"a container, and a port comes":     {have: Set{Endpoints: []Endpoint{two}}, want: Set{Bindings: ports(web)}},
		"a container, and a relayed comes":  {have: Set{Endpoints: []Endpoint{two}}, want: Set{Bindings: ports(relayed)}, later: true},
		"where rules may have been missing": {have: Set{Endpoints: []Endpoint{one}, Unsure: true}},
	} {
		if got := difference(&c.have, c.want).canWait(&c.have, c.want); got != c.later {
			t.Errorf("%s: later: %t", name, got)
		}
	}
	if difference(nil, Set{}).canWait(nil, Set{}) {
		t.Error("with nothing known something can wait")
	}
}

// What comes waits for flows of what went where they are in its way, and for no others. What
// fails is tried again by the next who needs it.
func TestLater(t *testing.T) {
	h := nettest.New(t)
	h.Run("sh", "-c", "ip addr add 172.18.0.2/32 dev lo; iptables -A INPUT -m conntrack --ctstate NEW")
	h.Echo("udp4", "172.18.0.2:53")
	ask := func() {
		nettest.Eventually(t, 5*time.Second, func() error { _, err := h.Ask("udp4", "172.18.0.2:53", time.Second); return err })
	}
	ask()
	testFamily := testFamily{Family: model.IPv4}
	if n := len(testFamily.tracked(t)); n != 1 {
		t.Fatalf("%d flows are tracked, want 1", n)
	}
	hold := make(chan struct{})
	var refuse atomic.Bool
	refuse.Store(true)
	t.Cleanup(fault.Set(func(point string) error {
		if point != "conntrack: before forgetting a flow" {
			return nil
		}
		<-hold
		if refuse.Load() {
			return unix.ENOBUFS
		}
		return nil
	}))
	a := &Applier{unkept: errors.ErrUnsupported}
	left := netip.MustParseAddr("172.18.0.2")
	gone := Set{Endpoints: []Endpoint{{ID: "1", V4: left}}}
	p, err := a.Plan(t.Context(), &gone, Set{})
	if err := errors.Join(err, p.Do(t.Context())); err != nil {
		t.Fatal(err)
	}
	other := Set{Endpoints: []Endpoint{{ID: "2", V4: left.Next()}}}
	if p, err := a.Plan(t.Context(), &Set{}, other); err != nil || len(p) > 0 {
		t.Errorf("another address waits: %v, %v", p.Changes(), err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	again := Set{Endpoints: []Endpoint{{ID: "3", V4: left}}}
	_, err = a.Plan(short, &other, again)
	if subjects, rest := plan.Blame(err); !errors.Is(rest, context.DeadlineExceeded) || len(subjects) > 0 {
		t.Errorf("who is to have the address: %v", err)
	}
	close(hold)
	if err := a.Wait(t.Context()); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("waiting ends with %v", err)
	}
	refuse.Store(false)
	if _, err := a.Plan(t.Context(), &other, again); err != nil {
		t.Error(err)
	}
	if all := testFamily.tracked(t); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
	if err := a.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// What could not even be begun again is told, too, so that it is tried once more.
func TestAgainTellsWhatFails(t *testing.T) {
	nettest.New(t)
	var told []error
	a := &Applier{Failed: func(err error) { told = append(told, err) }}
	a.later.next = change{left: []netip.Addr{netip.MustParseAddr("172.18.0.2")}}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	a.Again(context.Background())
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || !errors.Is(told[0], unix.EMFILE) {
		t.Errorf("told of %v", told)
	}
	a.Again(context.Background())
	if err := a.Wait(t.Context()); err != nil || len(told) != 1 {
		t.Errorf("with descriptors: %v, told of %v", err, told)
	}
}
