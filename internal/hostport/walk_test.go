package hostport

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// TestRandomWalk keeps a model of what each owner holds and compares it with the kernel
// between the steps.
func TestRandomWalk(t *testing.T) {
	nettest.Process(t)
	rapid.Check(t, func(rt *rapid.T) {
		w := &walk{t: t, m: New(Config{}), pending: map[int]claim{}, records: map[string][]model.PortBinding{}}
		defer w.m.Close()
		rt.Repeat(map[string]func(*rapid.T){
			"reserve":          w.reserve,
			"release":          w.release,
			"record and apply": w.record,
			"remove and apply": w.remove,
			"":                 w.compare,
		})
	})
}

// walk is the model: what has been reserved and what has been recorded.
type walk struct {
	t       *testing.T
	m       *Manager
	pending map[int]claim // by when it was made
	records map[string][]model.PortBinding
	have    *Set // what was applied last
	made    int
	steps   int
}

// claim is one answer of Reserve.
type claim struct {
	owner   string
	asked   []model.PortBinding
	left    []model.PortBinding // what no Apply has adopted of it
	release func()
}

func (w *walk) reserve(rt *rapid.T) {
	owner := drawOwner(rt)
	ip := rapid.SampledFrom([]string{"", "0.0.0.0", "127.0.0.1", "::", "::1"}).Draw(rt, "host address")
	first := rapid.IntRange(9200, 9205).Draw(rt, "first")
	last := rapid.IntRange(first, 9205).Draw(rt, "last")
	req := request(rapid.SampledFrom([]model.Proto{model.TCP, model.UDP}).Draw(rt, "proto"), ip, first, last,
		rapid.IntRange(80, 82).Draw(rt, "container port"))
	want := firstFree(w.held(), owner, req)
	got, release, err := w.m.Reserve(owner, []model.PortRequest{req})
	if (err == nil) != (want != 0) {
		rt.Fatalf("%v: %v, but %d is free", req, err, want)
	}
	if err != nil {
		return
	}
	kept := slices.Contains(slices.Collect(maps.Values(w.held())), owner) // then it may keep a number that is not the first
	if port := int(got[0].Host.Port()); port < first || port > last || port != want && !kept {
		rt.Fatalf("%v got %d, want %d", req, port, want)
	}
	w.made++
	w.pending[w.made] = claim{owner: owner, asked: got, left: got, release: release}
}

func (w *walk) release(rt *rapid.T) {
	n := w.draw(rt)
	w.pending[n].release()
	delete(w.pending, n)
}

// record makes a claim the owner's record; but not one that an adoption has ended
// and whose ports are lost since, with that record.
func (w *walk) record(rt *rapid.T) {
	n := w.draw(rt)
	c, held := w.pending[n], w.held()
	delete(w.pending, n)
	for _, b := range c.asked {
		if held[b.Proto.String()+" "+b.Host.String()] != c.owner {
			c.release()
			return
		}
	}
	w.records[c.owner] = c.asked
	w.apply(rt)
}

func (w *walk) remove(rt *rapid.T) {
	delete(w.records, drawOwner(rt))
	w.apply(rt)
}

// compare does so after every fifth step: the kernel takes a millisecond to list
// its sockets.
func (w *walk) compare(rt *rapid.T) {
	if w.steps++; w.steps%5 != 0 {
		return
	}
	want := slices.Sorted(maps.Keys(w.held()))
	if got := bound(w.t); !slices.Equal(got, want) {
		rt.Fatalf("bound %v\nwant %v", got, want)
	}
}

// apply applies the records, which ends every claim that is the same as one.
func (w *walk) apply(rt *rapid.T) {
	var want Set
	for _, owner := range slices.Sorted(maps.Keys(w.records)) {
		want.Bindings = append(want.Bindings, setOf(owner, w.records[owner]).Bindings...)
	}
	have := w.have
	if rapid.Bool().Draw(rt, "nothing known") {
		have = nil
	}
	if err := w.m.Apply(rt.Context(), have, want); err != nil {
		rt.Fatal(err)
	}
	w.have = &want
	for _, have := range []*Set{&want, nil} {
		if p, err := w.m.Plan(rt.Context(), have, want); err != nil || len(p) > 0 {
			rt.Fatalf("after Apply: %v, %v", p.Changes(), err)
		}
	}
	for n, c := range w.pending {
		c.left = slices.DeleteFunc(slices.Clone(c.left), func(b model.PortBinding) bool {
			return slices.Contains(w.records[c.owner], b) // each is one port
		})
		w.pending[n] = c
	}
}

// draw picks one of the claims.
func (w *walk) draw(rt *rapid.T) int {
	if len(w.pending) == 0 {
		rt.Skip()
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(w.pending))).Draw(rt, "claim")
}

func drawOwner(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "owner")
}

// held is the owner of "tcp 0.0.0.0:80" and so on.
func (w *walk) held() map[string]string {
	all := map[string]string{}
	note := func(owner string, bindings []model.PortBinding) {
		for _, b := range bindings {
			all[b.Proto.String()+" "+b.Host.String()] = owner // each is one port
		}
	}
	for owner, bindings := range w.records {
		note(owner, bindings)
	}
	for _, c := range w.pending {
		note(c.owner, c.left)
	}
	return all
}

// firstFree is the lowest number of the request that is free for the owner on every
// address; 0 if none is.
func firstFree(held map[string]string, owner string, req model.PortRequest) int {
	var addrs []string
	for _, w := range targets(req) {
		addrs = append(addrs, w.Host.String())
	}
	free := func(addr string, port int) bool {
		conflicting := []string{"0.0.0.0", "127.0.0.1"}
		if strings.Contains(addr, ":") {
			conflicting = []string{"::", "::1"}
		}
		for _, other := range conflicting {
			by, taken := held[req.Proto.String()+" "+net.JoinHostPort(other, fmt.Sprint(port))]
			if taken && (other != addr || by != owner) {
				return false
			}
		}
		return true
	}
	for port := int(req.First); port <= int(req.Last); port++ {
		if !slices.ContainsFunc(addrs, func(addr string) bool { return !free(addr, port) }) {
			return port
		}
	}
	return 0
}
