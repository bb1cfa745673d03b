package nftables

import (
	"context"
	"fmt"

	"github.com/google/nftables"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// Count reads what the elements of published ports have counted; of a range it is the sum.
// Nothing waits for it: passes go on meanwhile.
func (b *Backend) Count(ctx context.Context, ports []firewall.Port) (map[model.PortBinding]firewall.Counter, error) {
	counted := map[model.PortBinding]firewall.Counter{}
	if !b.inUse.Load() || len(ports) == 0 {
		return counted, nil
	}
	conn, end, err := b.sockets.open(ctx)
	if err != nil {
		return nil, wrap(err)
	}
	defer end()
	for _, s := range b.sides() {
		counts := map[string]map[string]uint64{}
		err := steady(ctx, func() error {
			there, err := hasTable(conn, s.fam.table, tableName)
			if err != nil || !there {
				return err
			}
			counts, err = s.fam.counts(conn)
			return err
		})
		if err != nil {
			return counted, wrap(err)
		}
		for _, p := range ports {
			if !s.fam.Has(p.Container.Addr()) {
				continue
			}
			if n, there := s.fam.sum(counts, p); there {
				counted[p.PortBinding] = firewall.Counter{Connections: n}
			}
		}
	}
	return counted, nil
}

// counts reads the counters of published ports, by map, and by key and data: at the same host
// port an element may lead elsewhere.
func (fam family) counts(conn *nftables.Conn) (map[string]map[string]uint64, error) {
	out := map[string]map[string]uint64{}
	t := &nftables.Table{Name: tableName, Family: fam.table}
	for _, s := range fam.sets(firewall.Policy{}, nil) {
		if !s.counter {
			continue
		}
		elements, err := conn.GetSetElements(&nftables.Set{Table: t, Name: s.name})
		if err != nil {
			return nil, fmt.Errorf("list elements of set %s of table %s: %w", s.name, fam.name(), err)
		}
		out[s.name] = make(map[string]uint64, len(elements))
		for _, k := range elements {
			if k.Counter != nil {
				out[s.name][string(k.Key)+readData(s, k)] = k.Counter.Packets
			}
		}
	}
	return out, nil
}

// sum is what a binding's elements have counted, and whether all of them are there.
func (fam family) sum(counts map[string]map[string]uint64, p firewall.Port) (sum uint64, there bool) {
	for _, s := range fam.sets(firewall.Policy{Ports: []firewall.Port{p}}, nil) {
		if !s.counter {
			continue
		}
		for _, e := range s.elements {
			n, ok := counts[s.name][e.key+e.data]
			if !ok {
				return 0, false
			}
			sum += n
		}
	}
	return sum, true
}
