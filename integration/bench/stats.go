package bench

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Quantile is the value below which a share q of the values lies, between the two nearest
// where there is none just there; NaN of no values.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

// Median is the value in the middle.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Spread is half of what the middle half of the values spans, as a share of their median.
func Spread(values []float64) float64 {
	return (Quantile(values, 0.75) - Quantile(values, 0.25)) / 2 / math.Abs(Median(values))
}

// Estimate is a figure, and the interval in which it would lie in 95 of 100 repetitions.
type Estimate struct{ Value, Low, High float64 }

const (
	resamples  = 2000
	confidence = 0.95
	// leastRounds is how many rounds an interval takes: of fewer, the resampled medians say
	// nothing of what others would have been.
	leastRounds = 3
)

// estimate works figure out from the values, and how far it is uncertain: by the bootstrap
// (Efron 1979), which draws as many rounds as there were, with repetition, and works it out
// again. Values of one round stay together where all were measured in the same rounds.
// The draws begin at a fixed seed, so that a record has one verdict.
func estimate(values [][]float64, figure func([][]float64) float64) Estimate {
	e := Estimate{Value: figure(values)}
	e.Low, e.High = math.Inf(-1), math.Inf(1)
	if slices.ContainsFunc(values, func(v []float64) bool { return len(v) < leastRounds }) {
		return e
	}
	together := !slices.ContainsFunc(values, func(v []float64) bool { return len(v) != len(values[0]) })
	random := rand.New(rand.NewPCG(1, 1))
	drawn := make([][]float64, len(values))
	var figures []float64
	for range resamples {
		var rounds []int
		for i, v := range values {
			if i == 0 || !together {
				rounds = make([]int, len(v))
				for n := range rounds {
					rounds[n] = random.IntN(len(v))
				}
			}
			drawn[i] = make([]float64, len(v))
			for n, round := range rounds {
				drawn[i][n] = v[round]
			}
		}
		figures = append(figures, figure(drawn))
	}
	e.Low, e.High = Quantile(figures, (1-confidence)/2), Quantile(figures, (1+confidence)/2)
	return e
}
