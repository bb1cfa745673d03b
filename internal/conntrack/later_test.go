package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"slices"
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
	other := udp("0.0.0.0:50 172.18.0.3:53", 9)
	limit := Limit{Addr: a, PortSpan: model.PortSpan{Proto: model.UDP, First: 53, Count: 1}}
	for name, c := range map[string]struct {
		have, want Set
		later      bool
	}{
		"nothing":                           {have: Set{Endpoints: []Endpoint{one}}, want: Set{Endpoints: []Endpoint{one}}},
		"a container":                       {have: Set{Endpoints: []Endpoint{one, two}}, want: Set{Endpoints: []Endpoint{two}}, later: true},
		"a UDP port":                        {have: Set{Bindings: ports(dns)}, later: true},
		"a TCP port":                        {have: Set{Bindings: ports(web)}},
		"an address that is another's now":  {have: Set{Endpoints: []Endpoint{one}}, want: Set{Endpoints: []Endpoint{{ID: "3", V4: a}}}},
		"a container, and a port comes":     {have: Set{Endpoints: []Endpoint{two}}, want: Set{Bindings: ports(web)}, later: true},
		"a port comes":                      {want: Set{Bindings: ports(dns)}, later: true},
		"a port comes for a few clients":    {want: Set{Bindings: ports(dns), Limits: []Limit{limit}}},
		"a port is another container's now": {have: Set{Bindings: ports(dns)}, want: Set{Bindings: ports(other)}, later: true},
		"a port comes where rules may have been missing": {have: Set{Unsure: true}, want: Set{Bindings: ports(dns)}},
		"a container, and a relayed comes":               {have: Set{Endpoints: []Endpoint{two}}, want: Set{Bindings: ports(relayed)}, later: true},
		"where rules may have been missing":              {have: Set{Endpoints: []Endpoint{one}, Unsure: true}},
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

// Who is told that looking has failed can end the Applier, or have it look again, at once.
func TestClosedWhenLookingFails(t *testing.T) {
	h := nettest.New(t)
	h.Run("sh", "-c", "ip addr add 172.18.0.2/32 dev lo; iptables -A INPUT -m conntrack --ctstate NEW")
	h.Echo("udp4", "172.18.0.2:53")
	nettest.Eventually(t, 5*time.Second, func() error { _, err := h.Ask("udp4", "172.18.0.2:53", time.Second); return err })
	t.Cleanup(fault.Set(func(point string) error {
		if point == "conntrack: before forgetting a flow" {
			return unix.ENOBUFS
		}
		return nil
	}))
	looked := make(chan struct{}, 10)
	a := &Applier{unkept: errors.ErrUnsupported}
	a.Looked = func(uint64) {
		a.Close()
		looked <- struct{}{}
	}
	p, err := a.Plan(t.Context(), &Set{Endpoints: []Endpoint{{ID: "1", V4: netip.MustParseAddr("172.18.0.2")}}}, Set{})
	if err := errors.Join(err, p.Do(t.Context())); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the round, and the end
		select {
		case <-looked:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody is told")
		}
	}
	if err := a.Wait(t.Context()); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("waiting ends with %v", err)
	}
}

// A port that comes does not wait for flows that began before it; who asks is told by which round
// they are gone. Who comes to have the same port waits for that.
func TestLooking(t *testing.T) {
	h := nettest.New(t)
	h.Run("sh", "-c", "ip addr add 192.0.2.1/32 dev lo; iptables -A INPUT -m conntrack --ctstate NEW")
	testFamily := testFamily{Family: model.IPv4}
	send := func(port string) {
		t.Helper()
		nettest.Eventually(t, 5*time.Second, func() error {
			c, err := h.Dial("udp4", "192.0.2.1:"+port, time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("early"))
			if all := testFamily.tracked(t); err == nil && len(all) == 0 {
				err = errors.New("no flow is tracked")
			}
			return err
		})
	}
	send("53")
	reached, hold := make(chan struct{}, 10), make(chan struct{})
	var refuse atomic.Bool
	t.Cleanup(fault.Set(func(point string) error {
		if point != "conntrack: before forgetting a flow" {
			return nil
		}
		reached <- struct{}{}
		<-hold
		if refuse.Load() {
			return unix.ENOBUFS
		}
		return nil
	}))
	looked := make(chan uint64, 10)
	a := &Applier{unkept: errors.ErrUnsupported, Looked: func(round uint64) { looked <- round }}
	t.Cleanup(func() { a.Close() })
	do := func(have, want []model.PortBinding) {
		t.Helper()
		p, err := a.Plan(t.Context(), &Set{Bindings: have}, Set{Bindings: want})
		if err := errors.Join(err, p.Do(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if round := a.Looking(); round != 0 {
		t.Errorf("before anything comes: round %d", round)
	}
	one, two := udp("0.0.0.0:53 172.18.0.2:53", 1), udp("0.0.0.0:54 172.18.0.2:54", 1)
	do(nil, ports(one))
	if round := a.Looking(); round != 1 {
		t.Errorf("behind the first: round %d", round)
	}
	<-reached
	if round := a.Looking(); round != 1 {
		t.Errorf("while it is looked for: round %d", round)
	}
	do(ports(one), ports(one, two))
	if round := a.Looking(); round != 2 {
		t.Errorf("behind the second: round %d", round)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := a.Plan(short, &Set{}, Set{Bindings: ports(udp("192.0.2.1:53 172.18.0.3:53", 1))})
	if _, rest := plan.Blame(err); !errors.Is(rest, context.DeadlineExceeded) {
		t.Errorf("who is to have the port: %v", err)
	}
	close(hold)
	for want := range uint64(3) { // and one more: nothing is left
		if got := <-looked; got != want+1 {
			t.Errorf("round %d has ended, want %d", got, want+1)
		}
	}
	if err := a.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if round, all := a.Looking(), testFamily.tracked(t); round != 0 || len(all) > 0 {
		t.Errorf("in the end: round %d, %v", round, all)
	}

	// A round that fails has ended, too: ports must not wait for ever.
	send("55")
	refuse.Store(true)
	do(nil, ports(udp("0.0.0.0:55 172.18.0.2:55", 1)))
	for want := range uint64(2) {
		if got := <-looked; got != want+4 {
			t.Errorf("round %d has ended, want %d", got, want+4)
		}
	}
	if round := a.Looking(); round != 0 {
		t.Errorf("after it has failed: round %d", round)
	}
}

// What is not published any more when the look begins is not looked for, and whoever waits for
// that round is told.
func TestLookingForWhatHasEnded(t *testing.T) {
	nettest.New(t)
	looked := make(chan uint64, 10)
	a := &Applier{unkept: errors.ErrUnsupported, Looked: func(round uint64) { looked <- round }}
	t.Cleanup(func() { a.Close() })
	do := func(have, want []model.PortBinding) {
		t.Helper()
		p, err := a.Plan(t.Context(), &Set{Bindings: have}, Set{Bindings: want})
		if err := errors.Join(err, p.Do(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	one, again := udp("0.0.0.0:53 172.18.0.2:53", 1), udp("0.0.0.0:53 172.18.0.3:53", 1)
	one.Proto, again.Proto = model.TCP, model.TCP
	do(nil, ports(one))
	round := a.Looking()
	do(ports(one), nil)
	do(nil, ports(again)) // waits for nobody
	a.later.mu.Lock()
	if came := slices.Concat(a.later.now.came, a.later.next.came); slices.Contains(came, one) {
		t.Errorf("looked for: %v", came)
	}
	a.later.mu.Unlock()
	do(ports(again), nil)
	for got := uint64(0); got < round; {
		select {
		case got = <-looked:
		case <-time.After(5 * time.Second):
			t.Fatalf("round %d does not end", round)
		}
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
	a.Again()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || !errors.Is(told[0], unix.EMFILE) {
		t.Errorf("told of %v", told)
	}
	a.Again()
	if err := a.Wait(t.Context()); err != nil || len(told) != 1 {
		t.Errorf("with descriptors: %v, told of %v", err, told)
	}
}

// Who comes to have a port with limits, so that it is looked at once what has begun before, waits
// until it is looked for flows of who had the port: its own would be taken for these.
func TestPortWithLimitsWaitsForWhatIsNext(t *testing.T) {
	h := nettest.New(t)
	h.Run("sh", "-c", "ip addr add 192.0.2.1/32 dev lo; iptables -A INPUT -m conntrack --ctstate NEW")
	testFamily := testFamily{Family: model.IPv4}
	nettest.Eventually(t, 5*time.Second, func() error {
		c, err := h.Dial("udp4", "192.0.2.1:55", time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("early"))
		if err == nil && len(testFamily.tracked(t)) == 0 {
			err = errors.New("no flow is tracked")
		}
		return err
	})
	reached, hold := make(chan struct{}, 10), make(chan struct{})
	t.Cleanup(fault.Set(func(point string) error {
		if point == "conntrack: before forgetting a flow" {
			reached <- struct{}{}
			<-hold
		}
		return nil
	}))
	a := &Applier{unkept: errors.ErrUnsupported}
	t.Cleanup(func() { a.Close() })
	do := func(have, want []model.PortBinding) {
		t.Helper()
		p, err := a.Plan(t.Context(), &Set{Bindings: have}, Set{Bindings: want})
		if err := errors.Join(err, p.Do(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	busy, went, comes := udp("0.0.0.0:55 172.18.0.5:55", 1), udp("0.0.0.0:53 172.18.0.2:53", 1), udp("0.0.0.0:53 172.18.0.3:53", 1)
	waits := func(what string, want Set, wait bool) {
		t.Helper()
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := a.Plan(short, &Set{}, want)
		if _, rest := plan.Blame(err); errors.Is(rest, context.DeadlineExceeded) != wait {
			t.Errorf("%s: %v", what, err)
		}
	}
	limited := func(b model.PortBinding) Set {
		return Set{Bindings: ports(b), Limits: []Limit{{Addr: b.Container.Addr(), PortSpan: model.PortSpan{Proto: model.UDP, First: 53, Count: 1}}}}
	}
	// Begun to be planned before what it shares a port with is looked for.
	late, err := a.Plan(t.Context(), &Set{}, Set{Bindings: ports(udp("0.0.0.0:55 172.18.0.6:55", 1))})
	if err != nil {
		t.Fatal(err)
	}
	do(nil, ports(busy))
	<-reached
	do(ports(went), nil)
	waits("a port that is next", limited(comes), true)
	waits("a port that is next, without limits", Set{Bindings: ports(comes)}, false)
	waits("another port", limited(udp("0.0.0.0:54 172.18.0.3:53", 1)), false)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := late.Do(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a port that it is looked for meanwhile: %v", err)
	}
	close(hold)
	if _, err := a.Plan(t.Context(), &Set{}, limited(comes)); err != nil {
		t.Error(err)
	}
	if err := errors.Join(late.Do(t.Context()), a.Wait(t.Context())); err != nil {
		t.Error(err)
	}
}

// Ports are shared where they overlap, of one protocol, and only if they can be translated; with
// many ports that is told as fast.
func TestSharesPort(t *testing.T) {
	tcp := udp("0.0.0.0:53 172.18.0.2:53", 1)
	tcp.Proto = model.TCP
	for name, c := range map[string]struct {
		came, gone model.PortBinding
		shares     bool
	}{
		"the same":           {udp("0.0.0.0:53 172.18.0.3:53", 1), udp("0.0.0.0:53 172.18.0.2:53", 1), true},
		"another protocol":   {udp("0.0.0.0:53 172.18.0.3:53", 1), tcp, false},
		"before a range":     {udp("0.0.0.0:49 172.18.0.3:53", 1), udp("0.0.0.0:50 172.18.0.2:50", 9), false},
		"a range's first":    {udp("0.0.0.0:50 172.18.0.3:53", 1), udp("0.0.0.0:50 172.18.0.2:50", 9), true},
		"a range's last":     {udp("0.0.0.0:58 172.18.0.3:53", 1), udp("0.0.0.0:50 172.18.0.2:50", 9), true},
		"behind a range":     {udp("0.0.0.0:59 172.18.0.3:53", 1), udp("0.0.0.0:50 172.18.0.2:50", 9), false},
		"a range around one": {udp("0.0.0.0:50 172.18.0.3:53", 9), udp("0.0.0.0:53 172.18.0.2:50", 1), true},
		"a relayed one":      {udp("[::]:53 172.18.0.3:53", 1), udp("0.0.0.0:53 172.18.0.2:53", 1), false},
	} {
		before := change{gone: ports(c.gone, udp("0.0.0.0:1 172.18.0.2:1", 1), udp("0.0.0.0:900 172.18.0.2:1", 1))}
		for range 2 {
			if got := (change{came: ports(udp("0.0.0.0:800 172.18.0.3:1", 1), c.came, udp("0.0.0.0:2 172.18.0.3:1", 1))}).sharesPort(before); got != c.shares {
				t.Errorf("%s: %t", name, got)
			}
			before = change{came: before.gone}
		}
	}
	var even, odd change
	for port := range 20000 {
		b := udp("0.0.0.0:1 172.18.0.2:1", 1)
		b.Host = netip.AddrPortFrom(b.Host.Addr(), uint16(2*port+2))
		even.gone = append(even.gone, b)
		b.Host = netip.AddrPortFrom(b.Host.Addr(), uint16(2*port+1))
		odd.came = append(odd.came, b)
	}
	begun := time.Now()
	if odd.sharesPort(even) {
		t.Error("ports that are not shared")
	}
	if took := time.Since(begun); took > time.Second { // 20 ms; each with each, 400 million times, takes several
		t.Errorf("20,000 and as many ports take %s", took)
	}
}

// No look waits for ever for an answer of the kernel.
func TestSocketsOfTheKernelWaitOnlySoLong(t *testing.T) {
	nettest.New(t)
	k, err := openKernel(50 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, _, err := k.netfilter[unix.NETLINK_NETFILTER].Socket.Receive() // nothing was asked
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, unix.EAGAIN) {
			t.Errorf("ends with %v", err)
		}
		k.close()
	case <-time.After(10 * time.Second):
		t.Error("waits for an answer that does not come")
	}
}
