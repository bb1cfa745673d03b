package ipam

import (
	"iter"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// decoded counts the leases whose records are read.
type decoded struct {
	Tx
	n *int
}

func (c decoded) Leases(id string, from netip.Addr) iter.Seq[model.Lease] {
	return count(c.n, c.Tx.Leases(id, from))
}

func (c decoded) Lease(id string, a netip.Addr) (model.Lease, error) {
	*c.n++
	return c.Tx.Lease(id, a)
}

type decodedRecords struct {
	Records
	n *int
}

func (r decodedRecords) Update(fn func(Tx) error) error {
	return r.Records.Update(func(tx Tx) error { return fn(decoded{tx, r.n}) })
}

// When all of a pool is in use or rests, the records of those that rest are not read to find
// the one that has rested longest: with a long quarantine that is nearly all of it.
func TestExhaustedByQuarantine(t *testing.T) {
	d, s, c := resting(t)
	n := 0
	d.store = decodedRecords{d.store, &n}
	id := pool(t, d, "10.0.0.0/22", "")
	_, err := s.Update(func(tx *store.Tx) error {
		p, err := tx.Pool(id)
		if err != nil {
			return err
		}
		if err := tx.PutNetwork(model.Network{ID: "n", Bridge: "br-n", V4: model.Subnet{Prefix: p.Prefix, Space: p.Space}}); err != nil {
			return err
		}
		a := p.Prefix.Addr()
		for i := range 1022 {
			a = a.Next()
			l := model.Lease{Addr: a, Kind: model.LeaseResting, Freed: c.now.UnixNano() - int64(i)}
			if i < 20 {
				l = model.Lease{Addr: a, Kind: model.LeaseEndpoint, MAC: model.MAC{2, 1, 0, 0, 0, byte(i)}}
				if err := tx.PutEndpoint(model.Endpoint{ID: a.String(), NetworkID: "n", MAC: l.MAC, V4: netip.PrefixFrom(a, 22)}); err != nil {
					return err
				}
			}
			if err := tx.PutLease(id, l); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, d, id, mac1, "", "10.0.3.254/22")
	if n > 50 {
		t.Errorf("%d records were read", n)
	}
}
