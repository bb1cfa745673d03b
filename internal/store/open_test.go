package store

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// BenchmarkStart opens a file with many records, and makes its copy.
func BenchmarkStart(b *testing.B) {
	c := Config{Path: filepath.Join(b.TempDir(), "mybr.db"), Copy: filepath.Join(b.TempDir(), "copy.db"),
		Info: func(string, ...any) {}, Warn: func(string, ...any) {}}
	s, err := Start(c)
	if err != nil {
		b.Fatal(err)
	}
	_, err = s.Update(func(tx *Tx) error {
		for i := range 100 {
			if err := tx.PutNetwork(model.Network{ID: fmt.Sprint("network", i)}); err != nil {
				return err
			}
		}
		for i := range 1000 {
			if err := tx.PutEndpoint(model.Endpoint{ID: fmt.Sprint("endpoint", i), NetworkID: fmt.Sprint("network", i%100)}); err != nil {
				return err
			}
		}
		if err := tx.PutPool(model.Pool{ID: "pool", Prefix: netip.MustParsePrefix("10.1.0.0/16")}); err != nil {
			return err
		}
		for i := range 60000 {
			a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
			if err := tx.PutLease("pool", model.Lease{Addr: a, Kind: model.LeaseEndpoint, MAC: model.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}}); err != nil {
				return err
			}
		}
		return nil
	})
	for range b.N {
		if err == nil {
			err = s.Close()
		}
		b.StartTimer()
		if err == nil {
			s, err = Start(c)
		}
		b.StopTimer()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/start")
}
