package plan

import "slices"

// SameList reports whether two lists hold the same, in the same order. Two that are the same
// memory are known to without a look at what they hold.
func SameList[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// SameShared is SameList for lists of what many lists share: what is the same memory in both is
// not read.
func SameShared[T comparable](a, b []*T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.EqualFunc(a, b, sameShared[T]))
}

func sameShared[T comparable](a, b *T) bool { return a == b || *a == *b }

// Differing returns what of two lists only one has, each in its order; what is there several
// times counts as often.
//
// It takes one walk along two lists that compare has sorted, and no memory for what both have.
// Lists in any other order cost more, and the answer is as right.
func Differing[T comparable](have, want []T, compare func(a, b *T) int) (gone, came []T) {
	return differing(have, want, compare,
		func(a, b *T) bool { return *a == *b },
		func(e T) T { return e })
}

// DifferingShared is Differing for lists of what many lists share: what is the same memory in both
// is not read.
func DifferingShared[T comparable](have, want []*T, compare func(a, b *T) int) (gone, came []*T) {
	return differing(have, want,
		func(a, b **T) int { return compare(*a, *b) },
		func(a, b **T) bool { return sameShared(*a, *b) },
		func(e *T) T { return *e })
}

// differing is Differing of elements that are the same if value says so.
func differing[E any, T comparable](have, want []E, compare func(a, b *E) int, same func(a, b *E) bool, value func(E) T) (gone, came []E) {
	if len(have) == len(want) && (len(have) == 0 || &have[0] == &want[0]) {
		return nil, nil
	}
	for len(have) > 0 && len(want) > 0 {
		switch {
		case same(&have[0], &want[0]):
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
	return cancel(gone, came, value)
}

// cancel takes from two lists what both have: the order was not the one that was expected.
func cancel[E any, T comparable](gone, came []E, value func(E) T) (onlyGone, onlyCame []E) {
	count := make(map[T]int, len(gone))
	for _, e := range gone {
		count[value(e)]++
	}
	onlyCame = slices.DeleteFunc(came, func(e E) bool {
		both := count[value(e)] > 0
		if both {
			count[value(e)]--
		}
		return both
	})
	// What is left in count is gone; of several alike, which ones stay doesn't matter.
	onlyGone = slices.DeleteFunc(gone, func(e E) bool {
		left := count[value(e)] > 0
		if left {
			count[value(e)]--
		}
		return !left
	})
	return onlyGone, onlyCame
}
