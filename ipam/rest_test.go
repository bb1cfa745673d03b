package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// clock is a time that tests set.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

// resting returns a driver whose addresses rest for a minute.
func resting(t *testing.T) (*Driver, *store.Store, *clock) {
	t.Helper()
	c := &clock{time.Unix(1_800_000_000, 0)}
	s := openStore(t, filepath.Join(t.TempDir(), "mybr.db"))
	t.Cleanup(func() { _ = s.Close() })
	return restingOn(s, c), s, c
}

func restingOn(s *store.Store, c *clock) *Driver {
	return New(Config{Store: records{s}, Routes: hostRoutes(nil), Quarantine: time.Minute, Now: func() time.Time { return c.now }})
}

func mac(n int) string { return model.MAC{2, 0, 0, 1, byte(n >> 8), byte(n)}.String() }

// A released address rests for the time of the quarantine, even when the process ends
// meanwhile, and is then an address like any other.
func TestQuarantine(t *testing.T) {
	_, s, c := resting(t)
	path := filepath.Join(t.TempDir(), "mybr.db")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	d := restingOn(s, c)
	id := pool(t, d, "10.0.0.0/29", "") // .1 to .6
	for i, a := range []string{"10.0.0.1/29", "10.0.0.2/29", "10.0.0.3/29"} {
		want(t, d, id, mac(i), "", a)
	}
	release(t, d, id, "10.0.0.2")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	defer s.Close()
	d = restingOn(s, c)
	c.pass(59 * time.Second)
	for i, a := range []string{"10.0.0.4/29", "10.0.0.5/29", "10.0.0.6/29"} {
		want(t, d, id, mac(3+i), "", a)
	}
	release(t, d, id, "10.0.0.5")
	c.pass(time.Second)
	release(t, d, id, "10.0.0.4")
	c.pass(2 * time.Second)
	want(t, d, id, mac(9), "", "10.0.0.2/29") // has rested, though .4 and .5 are nearer
	want(t, d, id, mac(10), "", "10.0.0.5/29")
	want(t, d, id, mac(11), "", "10.0.0.4/29")
	refused(t, d, id, mac(12), "", "request address: pool "+id+" is exhausted: all 6 addresses of 10.0.0.0/29 are in use")
	release(t, d, id, "10.0.0.4")
	want(t, d, id, mac(13), "10.0.0.4", "10.0.0.4/29") // named: at once
}

// A clock that was set back holds nothing back: what was released in the future counts as
// released now.
func TestQuarantineAndAClockSetBack(t *testing.T) {
	reliability.Try(t, "the clock is set back while addresses rest", func() time.Duration {
		d, s, c := resting(t)
		id := pool(t, d, "10.0.0.0/30", "")
		want(t, d, id, mac1, "", "10.0.0.1/30")
		release(t, d, id, "10.0.0.1")
		c.pass(-1000 * time.Hour)
		want(t, d, id, mac2, "", "10.0.0.2/30")
		if rests := dump(t, s).Rests[id]; len(rests) != 1 || rests[0].Freed != c.now.UnixNano() {
			t.Errorf("have %+v, want it released now, at %d", rests, c.now.UnixNano())
		}
		release(t, d, id, "10.0.0.2")
		c.pass(time.Minute)
		want(t, d, id, mac3, "", "10.0.0.1/30")
		if rests := dump(t, s).Rests[id]; len(rests) != 0 {
			t.Errorf("%+v still rest", rests)
		}
		return 0
	})
}

// An address that was named is kept for who names it again, however long it takes, while
// any other is free, resting or not. Rather than none it is given, longest free first.
func TestNamedAddressesAreKept(t *testing.T) {
	d, _, c := resting(t)
	id := pool(t, d, "10.0.0.0/29", "")
	want(t, d, id, mac(1), "10.0.0.3", "10.0.0.3/29")
	want(t, d, id, mac(2), "10.0.0.1", "10.0.0.1/29")
	release(t, d, id, "10.0.0.3")
	c.pass(time.Second)
	release(t, d, id, "10.0.0.1")
	c.pass(1000 * time.Hour)
	for i, a := range []string{"10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"} {
		want(t, d, id, mac(3+i), "", a+"/29")
	}
	release(t, d, id, "10.0.0.5")
	want(t, d, id, mac(7), "", "10.0.0.5/29") // rests, but nobody named it
	want(t, d, id, mac(1), "10.0.0.3", "10.0.0.3/29")
	release(t, d, id, "10.0.0.3")
	want(t, d, id, mac(8), "", "10.0.0.1/29")
	refused(t, d, id, mac(2), "10.0.0.1", "request address 10.0.0.1: Address already in use in pool "+id+" by the endpoint with MAC address "+mac(8))
	want(t, d, id, mac(9), "", "10.0.0.3/29")
	// It was chosen this time, so now it is kept for nobody.
	release(t, d, id, "10.0.0.3")
	c.pass(time.Minute)
	want(t, d, id, mac(10), "", "10.0.0.3/29")
}

// Outside of the sub-pool nothing is chosen, so nothing needs to rest there.
func TestNothingRestsOutsideTheSubPool(t *testing.T) {
	d, s, _ := resting(t)
	id := pool(t, d, "10.0.0.0/24", "10.0.0.128/25")
	want(t, d, id, mac1, "10.0.0.9", "10.0.0.9/24")
	release(t, d, id, "10.0.0.9")
	if w := dump(t, s); len(w.Rests[id])+len(w.Leases[id]) != 0 {
		t.Errorf("have %+v", w)
	}
}

// A pool keeps no more named addresses than a bridge has ports: not all that were ever used.
func TestNamedAddressesAreForgotten(t *testing.T) {
	d, s, c := resting(t)
	id := pool(t, d, "fd00::/64", "")
	named := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00::1:%x", i)) }
	_, err := s.Update(func(tx *store.Tx) error {
		var errs []error
		for i := range maxNamed {
			errs = append(errs, tx.PutLease(id, model.Lease{Addr: named(i), Kind: model.LeaseResting, Named: true, Freed: c.now.UnixNano()}))
			c.pass(time.Second)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := maxNamed; i < maxNamed+5; i++ {
		a := named(i).String()
		want(t, d, id, mac1, a, a+"/64")
		release(t, d, id, a)
	}
	rests := dump(t, s).Rests[id]
	if first := named(5); len(rests) != maxNamed || rests[0].Addr != first {
		t.Errorf("have %d from %v on, want %d from %s on", len(rests), rests[0].Addr, maxNamed, first)
	}
}

// When the client has hung up before it was told, an address goes on resting.
func TestHungUpRestsOn(t *testing.T) {
	d, s, c := resting(t)
	id := pool(t, d, "10.0.0.0/31", "")
	want(t, d, id, mac1, "10.0.0.1", "10.0.0.1/31")
	want(t, d, id, mac2, "", "10.0.0.0/31")
	release(t, d, id, "10.0.0.1")
	before := dump(t, s).Rests[id]
	c.pass(time.Second)
	gone, hangUp := context.WithCancelCause(t.Context())
	cause := errors.New("the client hung up")
	hangUp(cause)
	for _, a := range []string{"", "10.0.0.1"} {
		r := &helper.RequestAddressRequest{PoolID: id, Address: a, Options: map[string]string{keyMAC: mac3}}
		if _, err := d.RequestAddress(gone, r); !errors.Is(err, cause) {
			t.Errorf("request address %q: %v", a, err)
		}
		if have := dump(t, s).Rests[id]; len(have) != 1 || have[0] != before[0] {
			t.Errorf("have %+v at rest, want %+v", have, before)
		}
	}
}

func TestParseQuarantine(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "90s": 90 * time.Second, "24h": 24 * time.Hour} {
		if have, err := ParseQuarantine(text); err != nil || have != want {
			t.Errorf("%s: have %v %v", text, have, err)
		}
	}
	for _, text := range []string{"", "60", "-1s", "24h1ns", "1d"} {
		if have, err := ParseQuarantine(text); err == nil {
			t.Errorf("%q: have %v, want an error", text, have)
		}
	}
}

// Addresses that rest don't hold a pool: one whose release was lost with the process is given
// again.
func TestRestsHoldNoPool(t *testing.T) {
	d, s, c := resting(t)
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	release(t, d, id, "10.0.0.1")
	if again := pool(t, restingOn(s, c), "10.0.0.0/24", ""); again != id {
		t.Errorf("have %s, want %s again", again, id)
	}
}
