package bench

import (
	"math"
	"strings"
	"testing"
)

func around(at float64, rounds int) (values []float64) {
	for i := range rounds {
		values = append(values, at*(1+0.02*float64(i%5-2)))
	}
	return values
}

func set(samples ...Sample) Set { return NewSet(Record{Samples: samples}) }

func TestJudge(t *testing.T) {
	have := set(
		Sample{"A", Nanoseconds, around(12e6, 15)}, Sample{"A0", Nanoseconds, around(2e6, 15)},
		Sample{"B", Nanoseconds, around(22e6, 15)}, Sample{"B0", Nanoseconds, around(2e6, 15)},
		Sample{"Noisy", Nanoseconds, []float64{1e6, 2e6, 3e6, 2e6, 1e6, 3e6, 2e6, 2e6, 3e6}},
		Sample{"Rate", Packets, around(80, 15)}, Sample{"Other", Packets, around(100, 15)},
	)
	for _, c := range []struct {
		what  string
		bound Bound
		value float64
		met   bool
		past  bool
	}{
		{"a ratio that is kept", Bound{Num: Of("A"), Den: Of("B"), Limit: 0.6, Guard: 0.6}, 12.0 / 22, true, false},
		{"a ratio that isn't", Bound{Num: Of("A"), Den: Of("B"), Limit: 0.3, Guard: 0.3}, 12.0 / 22, false, true},
		{"not kept, and guarded with room", Bound{Num: Of("A"), Den: Of("B"), Limit: 0.3, Guard: 0.7}, 12.0 / 22, false, false},
		{"past by less than the noise", Bound{Num: Of("A"), Den: Of("Noisy"), Limit: 5.9, Guard: 5.9}, 6, false, false},
		{"not guarded", Bound{Num: Of("A"), Limit: 1e6}, 12e6, false, false},
		{"a difference", Bound{Num: Beyond("A", "A0"), Limit: 11e6, Guard: 11e6}, 10e6, true, false},
		{"a quotient of differences", Bound{Num: Beyond("A", "A0"), Den: Beyond("B", "B0"), Limit: 0.5, Guard: 0.6}, 0.5, true, false},
		{"at least", Bound{Num: Of("Rate"), Den: Of("Other"), AtLeast: true, Limit: 0.79, Guard: 0.79}, 0.8, true, false},
		{"not even that", Bound{Num: Of("Rate"), Den: Of("Other"), AtLeast: true, Limit: 0.99, Guard: 0.9}, 0.8, false, true},
		{"a quantile", Bound{Num: []Term{{Key: "Rate", Quantile: 1}}, Limit: 84, Guard: 1}, 83.2, true, true},
		{"a divisor of nothing", Bound{Num: Of("A"), Den: Beyond("B0", "B"), Limit: 1, Guard: 1}, math.Inf(1), false, true},
		{"the same at least", Bound{Num: Of("A"), Den: Beyond("B0", "B"), AtLeast: true, Limit: 1, Guard: 1}, math.Inf(-1), false, true},
	} {
		v, ok := c.bound.Judge(have)
		if !ok || v.Value != c.value && math.Abs(v.Value-c.value) > 1e-6*c.value || v.Met != c.met || v.Past() != c.past {
			t.Errorf("%s: %v, %v %+v, past %v, want %v, %v, %v", c.what, ok, v.Met, v.Estimate, v.Past(), c.value, c.met, c.past)
		}
	}
	if _, ok := (Bound{Num: Of("A"), Den: Of("C")}).Judge(have); ok {
		t.Error("a bound of what was not measured has a verdict")
	}
}

func TestTooFewRounds(t *testing.T) {
	v, ok := Bound{Num: Of("A"), Limit: 1e6, Guard: 1e6}.Judge(set(Sample{"A", Nanoseconds, around(12e6, 2)}))
	if !ok || v.Met || v.Past() || !strings.Contains(v.String(), "too few rounds") {
		t.Errorf("%v %v", ok, v)
	}
}

func TestVerdictInWords(t *testing.T) {
	v, _ := Bound{What: "connect", Num: Beyond("A", "B"), Limit: 4e6, Guard: 9e6}.Judge(set(
		Sample{"A", Nanoseconds, []float64{10e6, 10e6, 10e6}}, Sample{"B", Nanoseconds, []float64{3e6, 3e6, 3e6}}))
	v.Case = Case{Engine: "28.5", Mybr: "mybr-iptables"}
	want := "mybr-iptables on 28.5: connect: 7.00 ms (7.00 ms … 7.00 ms), bound ≤ 4.00 ms, guarded at 9.00 ms: not met"
	if v.String() != want {
		t.Errorf("have %q, want %q", v, want)
	}
	for value, want := range map[float64]string{0.0123: "0.012", 1.234: "1.23", 12.34: "12.3", 123.4: "123", -3: "−3.00", 0: "0.00"} {
		if have := Show(value, ""); have != want {
			t.Errorf("%v: have %q, want %q", value, have, want)
		}
	}
	for unit, want := range map[string]string{Bytes: "1.00 MiB", Nanoseconds: "1.05 ms", BytesPerSec: "0.008 Gbit/s", Conns: "1048576 conns/s"} {
		if have := Show(1<<20, unit); have != want {
			t.Errorf("%s: have %q, want %q", unit, have, want)
		}
	}
}
