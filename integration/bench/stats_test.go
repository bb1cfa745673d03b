package bench

import (
	"math"
	"testing"
)

func TestQuantile(t *testing.T) {
	values := []float64{9, 1, 5, 3, 7}
	for _, c := range []struct{ q, want float64 }{{0, 1}, {0.25, 3}, {0.5, 5}, {0.6, 5.8}, {0.99, 8.92}, {1, 9}} {
		if have := Quantile(values, c.q); math.Abs(have-c.want) > 1e-9 {
			t.Errorf("quantile %v: have %v, want %v", c.q, have, c.want)
		}
	}
	if values[0] != 9 {
		t.Error("the values were sorted in place")
	}
	if have := Median([]float64{4, 2}); have != 3 {
		t.Errorf("median of two: %v, want 3", have)
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("there is a median of nothing")
	}
	if have := Spread([]float64{8, 10, 12, 10, 10, 8, 12, 10, 10}); math.Abs(have) > 0.2 {
		t.Errorf("spread %v", have)
	}
	if have := Spread([]float64{5, 10, 15}); have != 0.25 {
		t.Errorf("spread %v, want 0.25", have)
	}
}

// The interval has the figure in it, is the same each time, and gets narrower with rounds.
func TestEstimate(t *testing.T) {
	noise := []float64{0, 3, -2, 1, -4, 2, -1, 4, -3}
	sample := func(rounds int, at float64) (values []float64) {
		for i := range rounds {
			values = append(values, at+noise[i%len(noise)])
		}
		return values
	}
	median := func(v [][]float64) float64 { return Median(v[0]) }
	few, many := estimate([][]float64{sample(9, 100)}, median), estimate([][]float64{sample(90, 100)}, median)
	for _, e := range []Estimate{few, many} {
		if e.Value != 100 || e.Low > e.Value || e.High < e.Value || e.Low < 96 || e.High > 104 {
			t.Errorf("%+v", e)
		}
	}
	if many.High-many.Low >= few.High-few.Low {
		t.Errorf("of 90 rounds %+v, of 9 %+v", many, few)
	}
	if again := estimate([][]float64{sample(9, 100)}, median); again != few {
		t.Errorf("have %+v, then %+v", few, again)
	}
	if e := estimate([][]float64{{1, 2}}, median); !math.IsInf(e.Low, -1) || !math.IsInf(e.High, 1) {
		t.Errorf("two rounds: %+v, want no interval", e)
	}
}

// What happens to all drivers in a round does not widen the interval of their difference.
func TestRoundsStayTogether(t *testing.T) {
	shared := []float64{0, 50, 10, 90, 30, 70, 20, 60, 40}
	var a, b []float64
	for _, s := range shared {
		a, b = append(a, 100+s), append(b, 103+s)
	}
	difference := func(v [][]float64) float64 { return Median(v[1]) - Median(v[0]) }
	if e := estimate([][]float64{a, b}, difference); e.Value != 3 || e.High-e.Low > 1e-9 {
		t.Errorf("in the same rounds: %+v, want 3 and no width", e)
	}
	if e := estimate([][]float64{a, append(b, b...)}, difference); e.High-e.Low < 1 {
		t.Errorf("in other rounds: %+v, want the width of both", e)
	}
}
