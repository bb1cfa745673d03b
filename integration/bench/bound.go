package bench

import (
	"fmt"
	"math"
	"strings"
)

// Term is a key in a figure: added or subtracted.
type Term struct {
	Key      Key
	Minus    bool
	Quantile float64 // which of the values; 0: the median
}

// Of is the median of a key.
func Of(key Key) []Term { return []Term{{Key: key}} }

// Beyond is what one key takes more than another one.
func Beyond(key, without Key) []Term { return []Term{{Key: key}, {Key: without, Minus: true}} }

// Bound is a limit of a figure: the sum of the terms of Num, divided by that of Den if there
// are any.
type Bound struct {
	What     string
	Num, Den []Term
	AtLeast  bool // the limit is the least; otherwise it is the most
	Limit    float64
	// Guard is the limit that bench-quick keeps, so that nothing gets worse: Limit itself, or
	// where that is not reached yet, today's figure with room. 0: none.
	Guard float64
}

// Verdict is what became of a bound in a run.
type Verdict struct {
	Case
	Bound
	Estimate
	Unit string // "": a ratio
	Met  bool
}

// Judge works a bound out. It says no if a key was not measured.
func (b Bound) Judge(set Set) (v Verdict, ok bool) {
	v.Bound = b
	terms := append(append([]Term(nil), b.Num...), b.Den...)
	values := make([][]float64, len(terms))
	for i, t := range terms {
		s, have := set[t.Key]
		if !have || len(s.Values) == 0 {
			return v, false
		}
		values[i] = s.Values
		if len(b.Den) == 0 {
			v.Unit = s.Unit
		}
	}
	sum := func(from, to int, drawn [][]float64) (total float64) {
		for i := from; i < to; i++ {
			q := terms[i].Quantile
			if q == 0 {
				q = 0.5
			}
			one := Quantile(drawn[i], q)
			if terms[i].Minus {
				one = -one
			}
			total += one
		}
		return total
	}
	v.Estimate = estimate(values, func(drawn [][]float64) float64 {
		num := sum(0, len(b.Num), drawn)
		if len(b.Den) == 0 {
			return num
		}
		// What is not above nothing can't be divided by: no quotient is right then, so the
		// figure is as bad as can be.
		den := sum(len(b.Num), len(terms), drawn)
		if den <= 0 && b.AtLeast {
			return math.Inf(-1)
		}
		if den <= 0 {
			return math.Inf(1)
		}
		return num / den
	})
	v.Met = b.keeps(v.Value, b.Limit)
	return v, true
}

func (b Bound) keeps(value, limit float64) bool {
	if b.AtLeast {
		return value >= limit
	}
	return value <= limit
}

// Past tells whether the figure is past its guard by more than the noise: no end of the
// interval keeps it.
func (v Verdict) Past() bool {
	return v.Guard != 0 && !v.keeps(v.Low, v.Guard) && !v.keeps(v.High, v.Guard)
}

// Unsure tells whether the limit lies in the interval, so that another run could have the
// other verdict.
func (v Verdict) Unsure() bool { return v.keeps(v.Low, v.Limit) != v.keeps(v.High, v.Limit) }

// Sign is ≥ or ≤.
func (b Bound) Sign() string {
	if b.AtLeast {
		return "≥"
	}
	return "≤"
}

// String is the verdict as a line of a log.
func (v Verdict) String() string {
	word := "not met"
	if v.Met {
		word = "met"
	}
	guard := ""
	if v.Guard != 0 && v.Guard != v.Limit {
		guard = fmt.Sprintf(", guarded at %s", Show(v.Guard, v.Unit))
	}
	return fmt.Sprintf("%s on %s: %s: %s (%s), bound %s %s%s: %s", v.Mybr, v.Engine, v.What, Show(v.Value, v.Unit), v.Interval(), v.Sign(), Show(v.Limit, v.Unit), guard, word)
}

// Interval is the interval as a reader wants it.
func (v Verdict) Interval() string {
	if math.IsInf(v.Low, -1) && math.IsInf(v.High, 1) {
		return "too few rounds for an interval"
	}
	return Show(v.Low, v.Unit) + " … " + Show(v.High, v.Unit)
}

// Show is a value in words: times in milliseconds, sizes in MiB, ratios as they are.
func Show(value float64, unit string) string {
	switch unit {
	case "":
		return digits(value)
	case Nanoseconds:
		return digits(value/1e6) + " ms"
	case Bytes:
		return digits(value/(1<<20)) + " MiB"
	case BytesPerSec:
		return digits(value*8/1e9) + " Gbit/s"
	}
	return digits(value) + " " + unit
}

// digits has three digits that count, or all of those before the point.
func digits(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	after := 2
	switch abs := math.Abs(v); {
	case abs >= 100:
		after = 0
	case abs >= 10:
		after = 1
	case abs < 0.1 && abs > 0:
		after = 3
	}
	text := fmt.Sprintf("%.*f", after, v)
	return strings.Replace(text, "-", "−", 1)
}
