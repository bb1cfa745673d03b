package main

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/mybr/mybr/integration/bench"
)

const (
	addressCallers = 16
	addressSlice   = 2 * time.Second
	wholePool      = 1<<16 - 2 // of a /16
)

// pool asks for a pool.
func (c *caller) pool(subnet string, v6 bool) (id string, err error) {
	var answer struct{ PoolID string }
	err = c.ask("IpamDriver.RequestPool", object{"AddressSpace": "mybr-local", "Pool": subnet, "V6": v6}, &answer)
	return answer.PoolID, err
}

// address asks for an address, and gives it without its prefix.
func (c *caller) address(pool string) (string, error) {
	var answer struct{ Address string }
	err := c.ask("IpamDriver.RequestAddress", object{"PoolID": pool, "Address": ""}, &answer)
	address, _, _ := strings.Cut(answer.Address, "/")
	return address, err
}

// addresses measures pairs of a request and a release, in pools that are more and more full,
// and a start with the last of them.
func addresses(s *session) {
	s.close()
	subjects := s.callers(1)
	pools := map[*subject]map[string]string{}
	taken := map[*subject]int{}
	for _, sub := range subjects {
		v4, err := sub.mybr.pool("10.200.0.0/16", false)
		s.must(err)
		v6, err := sub.mybr.pool("fd00:200::/64", true)
		s.must(err)
		pools[sub] = map[string]string{"v6": v6}
		for _, fill := range bench.Fills[:3] {
			pools[sub][fill] = v4
		}
	}
	shares := map[string]float64{"1%": 0.01, "50%": 0.5, "99%": 0.99}
	for _, fill := range append([]string{"v6"}, bench.Fills[:3]...) {
		for _, sub := range subjects {
			more := int(shares[fill]*wholePool) - taken[sub]
			s.must(each(addressCallers, more, func(int) error {
				_, err := sub.mybr.address(pools[sub][fill])
				return err
			}))
			taken[sub] += max(more, 0)
		}
		s.rounds(5, 3, subjects, func(sub *subject) {
			rate, err := sub.mybr.pairs(pools[sub][fill])
			s.must(err)
			s.record.Add(bench.SizeKey("Addresses", sub.version, sub.driver, "fill", fill), bench.Pairs, rate)
		})
	}
	for _, sub := range subjects {
		sub.w.StopMybr()
	}
	s.rounds(9, 3, subjects, func(sub *subject) {
		_, ready := s.starts(sub)
		s.record.Add(sub.key("LeasesReconciled"), bench.Nanoseconds, float64(ready))
	})
	s.close()
}

// pairs requests and releases addresses, and gives how many pairs a second.
func (c *caller) pairs(pool string) (float64, error) {
	var done atomic.Int64
	began := time.Now()
	err := together(addressCallers, func(int) error {
		for time.Since(began) < addressSlice {
			address, err := c.address(pool)
			if err == nil {
				err = c.ask("IpamDriver.ReleaseAddress", object{"PoolID": pool, "Address": address}, nil)
			}
			if err != nil {
				return err
			}
			done.Add(1)
		}
		return nil
	})
	return float64(done.Load()) / time.Since(began).Seconds(), err
}
