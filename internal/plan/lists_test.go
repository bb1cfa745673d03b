package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func compareInts(a, b *int) int { return cmp.Compare(*a, *b) }

// What only one list has is what counting says, in whatever order the lists are; and it keeps
// its own order.
func TestDiffering(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		numbers := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 12)
		have, want := numbers.Draw(r, "have"), numbers.Draw(r, "want")
		sorted := rapid.Bool().Draw(r, "sorted")
		if sorted {
			slices.Sort(have)
			slices.Sort(want)
		}
		before := [][]int{slices.Clone(have), slices.Clone(want)}
		gone, came := Differing(have, want, compareInts)
		count := func(list []int) map[int]int {
			n := map[int]int{}
			for _, e := range list {
				n[e]++
			}
			return n
		}
		more := func(a, b map[int]int) map[int]int {
			n := map[int]int{}
			for e, of := range a {
				if of > b[e] {
					n[e] = of - b[e]
				}
			}
			return n
		}
		h, w := count(have), count(want)
		if !maps.Equal(count(gone), more(h, w)) || !maps.Equal(count(came), more(w, h)) {
			r.Errorf("%v and %v: gone %v, came %v", have, want, gone, came)
		}
		if sorted && (!slices.IsSorted(gone) || !slices.IsSorted(came)) {
			r.Errorf("%v and %v: gone %v, came %v are in another order", have, want, gone, came)
		}
		if !slices.Equal(have, before[0]) || !slices.Equal(want, before[1]) {
			r.Error("the lists have changed")
		}
	})
}

func TestSameList(t *testing.T) {
	list := []int{1, 2, 3}
	for _, c := range []struct {
		a, b []int
		same bool
	}{
		{nil, nil, true}, {nil, []int{}, true}, {list, list, true}, {list, slices.Clone(list), true},
		{list, list[:2], false}, {list, []int{1, 2, 4}, false}, {nil, list, false},
	} {
		if SameList(c.a, c.b) != c.same || SameList(c.b, c.a) != c.same {
			t.Errorf("%v and %v: want %t", c.a, c.b, c.same)
		}
	}
}

// One more among many, as a request has it.
func BenchmarkDiffering(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var have []int
			for i := range n {
				have = append(have, 2*i)
			}
			want := slices.Insert(slices.Clone(have), n/2, n+1)
			b.ReportAllocs()
			for b.Loop() {
				if gone, came := Differing(have, want, compareInts); len(gone) != 0 || len(came) != 1 {
					b.Fatal(gone, came)
				}
			}
		})
	}
}
