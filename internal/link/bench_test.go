package link

import (
	"testing"

	"github.com/mybr/mybr/internal/nettest"
)

// What a container costs: its pair made on a host that has others.
func BenchmarkVeth(b *testing.B) {
	nettest.New(b)
	br := bridge(1)
	have := set([]Bridge{br})
	apply(b, nil, have)
	for b.Loop() {
		want := set([]Bridge{br}, veth(1, br))
		apply(b, &have, want)
		b.StopTimer()
		apply(b, &want, have)
		b.StartTimer()
	}
}

// What a look at everything costs with a hundred pairs, none of which needs mending.
func BenchmarkFull(b *testing.B) {
	nettest.New(b)
	br := bridge(1)
	want := set([]Bridge{br})
	for n := byte(1); n <= 100; n++ {
		v := veth(n, br)
		want.Veths = append(want.Veths, &v)
	}
	apply(b, nil, want)
	for b.Loop() {
		apply(b, nil, want)
	}
}
