package ipam

import (
	"math"
	"net/netip"
	"testing"
	"time"
)

func usageOf(t *testing.T, d *Driver, id string) Usage {
	t.Helper()
	all, err := d.Usage()
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		if u.Pool.ID == id {
			return u
		}
	}
	t.Fatalf("no pool %s in %+v", id, all)
	return Usage{}
}

// numbers are those of a usage, in the order size, used, resting, kept, free.
func numbers(u Usage) [5]uint64 { return [5]uint64{u.Size, u.Used, u.Resting, u.Kept, u.Free} }

// At each moment the next address is the one that the next request gets, and the numbers add
// up: while addresses are in use, rest, have rested, and are kept.
func TestUsage(t *testing.T) {
	d, _, c := resting(t)
	id := pool(t, d, "10.0.0.0/29", "") // .1 to .6
	check := func(next string, want [5]uint64) {
		t.Helper()
		u := usageOf(t, d, id)
		if have := numbers(u); have != want {
			t.Errorf("size, used, resting, kept, free: %v, want %v", have, want)
		}
		a := netip.Addr{}
		if next != "" {
			a = netip.MustParseAddr(next)
		}
		if u.Next != a {
			t.Errorf("next %s, want %s", u.Next, a)
		}
	}
	check("10.0.0.1", [5]uint64{6, 0, 0, 0, 6})
	want(t, d, id, mac(1), "", "10.0.0.1/29")
	want(t, d, id, mac(2), "10.0.0.3", "10.0.0.3/29")
	check("10.0.0.2", [5]uint64{6, 2, 0, 0, 4})
	release(t, d, id, "10.0.0.3")
	check("10.0.0.2", [5]uint64{6, 1, 0, 1, 4})
	release(t, d, id, "10.0.0.1")
	check("10.0.0.2", [5]uint64{6, 0, 1, 1, 4})
	for i, a := range []string{"10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"} {
		check(a, [5]uint64{6, uint64(i), 1, 1, uint64(4 - i)})
		want(t, d, id, mac(10+i), "", a+"/29")
	}
	check("10.0.0.1", [5]uint64{6, 4, 1, 1, 0}) // it rests, but nothing else is left
	c.pass(time.Minute)
	check("10.0.0.1", [5]uint64{6, 4, 0, 1, 1})
	want(t, d, id, mac(20), "", "10.0.0.1/29")
	check("10.0.0.3", [5]uint64{6, 5, 0, 1, 0}) // even a kept one
	want(t, d, id, mac(21), "", "10.0.0.3/29")
	check("", [5]uint64{6, 6, 0, 0, 0})
}

// What is used outside of the part that addresses are chosen from takes nothing from it.
func TestUsageOfARange(t *testing.T) {
	d, _, _ := resting(t)
	id := pool(t, d, "10.0.0.0/24", "10.0.0.128/25")
	want(t, d, id, "gateway", "10.0.0.1", "10.0.0.1/24")
	want(t, d, id, mac1, "10.0.0.7", "10.0.0.7/24")
	want(t, d, id, mac2, "", "10.0.0.128/24")
	if u := usageOf(t, d, id); numbers(u) != [5]uint64{127, 3, 0, 0, 126} || u.Next != netip.MustParseAddr("10.0.0.129") {
		t.Errorf("%v, next %s", numbers(u), u.Next)
	}
}

// A subnet with more addresses than there are numbers has the largest number of them.
func TestUsageOfIPv6(t *testing.T) {
	d, _, _ := resting(t)
	id := pool(t, d, "fd00:1::/64", "")
	want(t, d, id, mac1, "", "fd00:1::1/64")
	if u := usageOf(t, d, id); u.Size != math.MaxUint64 && u.Size != math.MaxUint64-1 || u.Used != 1 || u.Free > u.Size || u.Free < u.Size-1 {
		t.Errorf("%v", numbers(u))
	}
	if u := usageOf(t, d, id); u.Next != netip.MustParseAddr("fd00:1::2") {
		t.Errorf("next %s", u.Next)
	}
}

// What it costs with 60,000 leases held.
func BenchmarkUsage(b *testing.B) {
	s := openStore(b, b.TempDir()+"/mybr.db")
	defer s.Close()
	d := New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	fill(b, s, pool(b, d, "10.0.0.0/8", ""), 60000)
	for b.Loop() {
		if _, err := d.Usage(); err != nil {
			b.Fatal(err)
		}
	}
}
