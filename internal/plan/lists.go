package plan

import "slices"

// SameList reports whether two lists hold the same, in the same order. Two that are the same
// memory are known to without a look at what they hold.
func SameList[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// Differing returns what of two lists only one has, each in its order; what is there several
// times counts as often.
//
// It takes one walk along two lists that compare has sorted, and no memory for what both have.
// Lists in any other order cost more, and the answer is as right.
func Differing[T comparable](have, want []T, compare func(a, b *T) int) (gone, came []T) {
	if len(have) == len(want) && (len(have) == 0 || &have[0] == &want[0]) {
		return nil, nil
	}
	for len(have) > 0 && len(want) > 0 {
		switch {
		case have[0] == want[0]:
			have, want = have[1:], want[1:]
		case compare(&have[0], &want[0]) <= 0:
			gone, have = append(gone, have[0]), have[1:]
		default:
			came, want = append(came, want[0]), want[1:]
		}
	}
	gone, came = append(gone, have...), append(came, want...)
	if len(gone) == 0 || len(came) == 0 {
		return gone, came
	}
	return cancel(gone, came)
}

// cancel takes from two lists what both have: the order was not the one that was expected.
func cancel[T comparable](gone, came []T) (onlyGone, onlyCame []T) {
	count := make(map[T]int, len(gone))
	for _, e := range gone {
		count[e]++
	}
	onlyCame = slices.DeleteFunc(came, func(e T) bool {
		both := count[e] > 0
		if both {
			count[e]--
		}
		return both
	})
	// What is left in count is gone; of several alike, which ones stay doesn't matter.
	onlyGone = slices.DeleteFunc(gone, func(e T) bool {
		left := count[e] > 0
		if left {
			count[e]--
		}
		return !left
	})
	return onlyGone, onlyCame
}
