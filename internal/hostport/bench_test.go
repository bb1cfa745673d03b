package hostport

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// 2,000 ports that are two ranges become two bindings.
func BenchmarkCoalesce(b *testing.B) {
	var ones []model.PortBinding
	for i := range 1000 {
		for _, host := range []string{"0.0.0.0", "::"} {
			ones = append(ones, model.PortBinding{Proto: model.TCP, Count: 1,
				Host: netip.AddrPortFrom(netip.MustParseAddr(host), uint16(8000+i*37%1000)), Container: at(80 + i*37%1000)})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := model.Coalesce(slices.Clone(ones)); len(got) != 2 {
			b.Fatal(len(got))
		}
	}
}

// The worst case of a choice without a number: every port but one is reserved.
func BenchmarkChoices(b *testing.B) {
	s := &span{first: defaultFirst, last: defaultLast}
	for p := s.first + 1; p <= s.last; p++ {
		s.skip.add(p)
	}
	b.ReportAllocs()
	for b.Loop() {
		for p := range s.choices(0) {
			if p != s.first {
				b.Fatal(p)
			}
		}
	}
}

// A pass for one of 200 endpoints with ten ports each.
func BenchmarkPlanOfOneEndpoint(b *testing.B) {
	nettest.Process(b)
	m := New(Config{})
	defer m.Close()
	var have Set
	for i := range 200 {
		have.Bindings = append(have.Bindings, on(fmt.Sprint("veth", i), binding(fmt.Sprintf("e%03d", i), model.TCP, fmt.Sprintf("127.0.0.1:%d", 8000+10*i), 80, 10)))
	}
	if err := m.Apply(b.Context(), nil, have); err != nil {
		b.Fatal(err)
	}
	want := Set{Bindings: slices.Clone(have.Bindings)}
	want.Bindings[100].Count = 9
	for name, known := range map[string]*Set{"from_scratch": nil, "delta": &have} {
		b.Run(name, func(b *testing.B) {
			if _, err := m.Plan(b.Context(), known, have); err != nil { // notes that all match
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if p, err := m.Plan(b.Context(), known, want); err != nil || len(p) != 1 {
					b.Fatal(p, err)
				}
			}
		})
	}
}

// 10,000 ports in one range on every address, from the reservation to the removal.
func BenchmarkTenThousandPorts(b *testing.B) {
	nettest.Process(b)
	for _, proto := range []model.Proto{model.UDP, model.TCP} {
		b.Run(proto.String(), func(b *testing.B) {
			m := New(Config{})
			defer m.Close()
			var reqs []model.PortRequest
			for i := range 10000 {
				reqs = append(reqs, both(proto, 20000+i, 20000+i, 20000+i))
			}
			var reserved, adopted, closed time.Duration
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				bindings, release, err := m.Reserve("a", reqs)
				if err != nil {
					b.Fatal(err)
				}
				reserved += time.Since(began)
				want := setOf("a", bindings)
				if err := m.Apply(b.Context(), &Set{}, want); err != nil {
					b.Fatal(err)
				}
				release()
				adopted += time.Since(began)
				if err := m.Apply(b.Context(), &want, Set{}); err != nil {
					b.Fatal(err)
				}
				closed += time.Since(began)
			}
			b.ReportMetric(float64(reserved.Microseconds())/float64(b.N)/1000, "reserve-ms")
			b.ReportMetric(float64((adopted-reserved).Microseconds())/float64(b.N)/1000, "adopt-ms")
			b.ReportMetric(float64((closed-adopted).Microseconds())/float64(b.N)/1000, "close-ms")
		})
	}
}
