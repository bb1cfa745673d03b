package iptables

import (
	"slices"
	"strings"
)

// compare says what makes a list of rules the chain: the rules that only the list has,
// those that only the chain has, and those that both have but that must change their
// places. An order that doesn't matter is no difference: differences that were applied one
// after the other leave the rules in the order of their coming.
func (c chain) compare(have []string) (deleted, added, moved []string) {
	want := c.texts()
	deleted, added, moved = compare(have, want)
	if c.strict {
		return deleted, added, moved
	}
	moved = nil
	if c.ordered {
		wanted := byLinks(want)
		for links, rules := range byLinks(have) {
			_, _, out := compare(rules, wanted[links])
			moved = append(moved, out...)
		}
		slices.Sort(moved)
	}
	n := len(want)
	if c.first && slices.Contains(have, want[0]) && have[0] != want[0] && !slices.Contains(moved, want[0]) {
		moved = append(moved, want[0])
	}
	if c.last && n > 0 && slices.Contains(have, want[n-1]) && have[len(have)-1] != want[n-1] {
		moved = append(moved, want[n-1])
	}
	return deleted, added, moved
}

// byLinks sorts rules by the link that they are about, as "-i br0" or "-o br0", in their
// order; "" is none.
func byLinks(rules []string) map[string][]string {
	all := map[string][]string{}
	for _, r := range rules {
		all[linkOf(r)] = append(all[linkOf(r)], r)
	}
	return all
}

// linkOf is the link that a rule is about, which is not one that it excludes.
func linkOf(rule string) string {
	words := strings.Fields(rule)
	for i := 0; i+1 < len(words); i++ { // a rule may be empty: it matches everything and does nothing
		if (words[i] == "-i" || words[i] == "-o") && (i == 0 || words[i-1] != "!") {
			return words[i] + " " + words[i+1]
		}
	}
	return ""
}

// compare says what makes one list of rules another: the rules that only have has, those
// that only want has, and those that both have but that must change their places. Rules
// that are there several times count as often.
func compare(have, want []string) (deleted, added, moved []string) {
	places := make(map[string][]int, len(want)) // of each rule in want, those not found yet
	for i, r := range want {
		places[r] = append(places[r], i)
	}
	var common []int // the places in want of what both have, in the order of have
	for _, r := range have {
		if p := places[r]; len(p) > 0 {
			common, places[r] = append(common, p[0]), p[1:]
		} else {
			deleted = append(deleted, r)
		}
	}
	for i, r := range want {
		if p := places[r]; len(p) > 0 && p[0] == i {
			added, places[r] = append(added, r), p[1:]
		}
	}
	stay := increasing(common)
	for _, i := range common {
		if len(stay) > 0 && stay[0] == i {
			stay = stay[1:]
		} else {
			moved = append(moved, want[i])
		}
	}
	return deleted, added, moved
}

// increasing returns a longest increasing subsequence of distinct numbers, by patience
// sorting.
func increasing(numbers []int) []int {
	var ends []int // ends[n] is the index of the smallest number that ends a subsequence of n+1
	before := make([]int, len(numbers))
	for i, x := range numbers {
		n, _ := slices.BinarySearchFunc(ends, x, func(end, x int) int { return numbers[end] - x })
		if before[i] = -1; n > 0 {
			before[i] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, i)
		} else {
			ends[n] = i
		}
	}
	if len(ends) == 0 {
		return nil
	}
	out := make([]int, len(ends))
	for n, i := len(ends)-1, ends[len(ends)-1]; n >= 0; n, i = n-1, before[i] {
		out[n] = numbers[i]
	}
	return out
}
