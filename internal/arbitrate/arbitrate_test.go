package arbitrate

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
)

// The endpoints of a container: one without IPv6, one with both families, one without
// IPv4.
func container() []model.Endpoint {
	return []model.Endpoint{
		{ID: "dual", V4: netip.MustParsePrefix("10.2.0.2/24"), V6: netip.MustParsePrefix("fd00:2::2/64")},
		{ID: "four", V4: netip.MustParsePrefix("10.1.0.2/24")},
		{ID: "six", V6: netip.MustParsePrefix("fd00:3::2/64")},
	}
}

// entry is one published port, as the user asks for it of every endpoint.
type entry struct {
	proto       model.Proto
	port        uint16
	host        string // "": all addresses
	first, last uint16
}

// request is what the driver makes of entries for an endpoint: what has no address of the
// host's family is relayed to the other one, from IPv4 only if that is asked for.
func request(e model.Endpoint, v4Only bool, entries ...entry) Request {
	r := Request{Endpoint: e.ID, V4Only: v4Only}
	for _, x := range entries {
		p := model.PortRequest{Proto: x.proto, First: x.first, Last: x.last}
		for _, f := range model.Families() {
			host := f.Unspecified()
			if x.host != "" {
				host = netip.MustParseAddr(x.host)
			}
			to := e.Address(f).Addr()
			if !to.IsValid() && (f == model.IPv6 && !v4Only || x.host != "") {
				to = e.Address(f.Other()).Addr()
			}
			if f.Has(host) && to.IsValid() {
				*p.Target(f) = model.Target{Host: host, Container: netip.AddrPortFrom(to, x.port)}
			}
		}
		if p.V4.Wanted() || p.V6.Wanted() {
			r.Ports = append(r.Ports, p)
		}
	}
	return r
}

// lowest reserves the lowest numbers that are free: others have some. Of a port that the
// endpoints have a number of, that number comes first.
func lowest(endpoints []model.Endpoint, others ...uint16) Reserve {
	return func(reqs []model.PortRequest) (got []model.PortBinding, err error) {
		free := func(r model.PortRequest, n uint16) bool {
			return !slices.Contains(others, n) && !slices.ContainsFunc(got, func(b model.PortBinding) bool {
				s := slot{b, ""}
				return b.Proto == r.Proto && b.Host.Port() == n && (s.conflicts(r.V4) || s.conflicts(r.V6))
			})
		}
		reqs = slices.Clone(reqs)
		slices.SortStableFunc(reqs, func(a, b model.PortRequest) int { return choice(a) - choice(b) })
		for _, r := range reqs {
			first, last := r.First, r.Last
			if first == 0 {
				first, last = 32768, 60999
			}
			var candidates []uint16
			for _, e := range endpoints {
				for s := range slotsOf(e) {
					if n := s.Host.Port(); s.Proto == r.Proto && (s.Container == r.V4.Container || s.Container == r.V6.Container) && n >= first && n <= last {
						candidates = append(candidates, n)
					}
				}
			}
			slices.Sort(candidates)
			for n := first; n <= min(last, first+20); n++ {
				candidates = append(candidates, n)
			}
			i := slices.IndexFunc(candidates, func(n uint16) bool { return free(r, n) })
			if i < 0 {
				return nil, model.Conflict("port %d is already allocated", first)
			}
			n := candidates[i]
			for _, t := range []model.Target{r.V4, r.V6} {
				if t.Wanted() {
					got = append(got, model.PortBinding{Proto: r.Proto, Host: netip.AddrPortFrom(t.Host, n), Container: t.Container, Count: 1})
				}
			}
		}
		slices.SortFunc(got, func(a, b model.PortBinding) int { return strings.Compare(a.String(), b.String()) })
		return got, nil
	}
}

func get(t interface{ Fatal(...any) }, endpoints []model.Endpoint, id string) model.Endpoint {
	for _, e := range endpoints {
		if e.ID == id {
			return e
		}
	}
	t.Fatal("no endpoint ", id)
	return model.Endpoint{}
}

// served says of the slots of all endpoints, without what they lead to, which endpoint has
// them. Without numbers, those of one port of the container are one.
func served(endpoints []model.Endpoint, numbers bool) map[string]string {
	all := map[string]string{}
	for _, e := range endpoints {
		for s := range slotsOf(e) {
			text := fmt.Sprint(s.Proto, " ", s.Host.Addr(), " for ", s.Container.Port())
			if numbers {
				text += fmt.Sprint(" at ", s.Host.Port())
			}
			all[text] = e.ID
		}
	}
	return all
}

// oneOwner fails the test if two endpoints have slots that can't be had beside each other.
func oneOwner(t *rapid.T, endpoints []model.Endpoint) {
	var all []slot
	for _, e := range endpoints {
		all = slices.AppendSeq(all, slotsOf(e))
	}
	for i, s := range all {
		for _, o := range all[:i] {
			if s.Proto == o.Proto && s.Host.Port() == o.Host.Port() && s.conflicts(o.target()) {
				t.Fatalf("%s of %s and %s of %s", s, s.endpoint, o, o.endpoint)
			}
		}
	}
}

func drawEntries(t *rapid.T, fixed bool) (all []entry) {
	for i := range rapid.IntRange(1, 4).Draw(t, "entries") {
		x := entry{
			proto: rapid.SampledFrom([]model.Proto{model.TCP, model.UDP}).Draw(t, "proto"), port: uint16(80 + i),
			host: rapid.SampledFrom([]string{"", "0.0.0.0", "::", "127.0.0.1", "2001:db8::7"}).Draw(t, "host"),
		}
		if fixed {
			x.port = uint16(80 + i/2) // one that is published twice over is told apart by its numbers
		}
		if kind := rapid.IntRange(0, 2).Draw(t, "number"); fixed || kind == 0 {
			x.first, x.last = uint16(8000+10*i), uint16(8000+10*i)
		} else if kind == 1 {
			x.first, x.last = uint16(8000+10*i), uint16(8005+10*i)
		}
		all = append(all, x)
	}
	return all
}

func publish(t *rapid.T, endpoints []model.Endpoint, r Request) []model.Endpoint {
	after, err := Publish(endpoints, r, lowest(endpoints, 8001, 32769))
	if errors.Is(err, model.ErrConflict) {
		return endpoints
	} else if err != nil {
		t.Fatal(err)
	}
	return after
}

// Whatever endpoints ask for and release, in whatever order: a slot has one owner, asking
// twice changes nothing, what another endpoint loses the one that asked has, and what is
// released goes to those that wanted it.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fixed := rapid.Bool().Draw(t, "fixed")
		endpoints, entries := container(), drawEntries(t, fixed)
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			e := rapid.SampledFrom(endpoints).Draw(t, "endpoint")
			if rapid.IntRange(0, 3).Draw(t, "release") == 0 {
				endpoints = release(endpoints, e.ID)
				endpoints = Reassign(endpoints, e.ID, lowest(endpoints, 8001, 32769), func(e model.Endpoint, err error) {
					if fixed {
						t.Fatal(e.ID, err)
					}
				})
				if e := get(t, endpoints, e.ID); e.Ports != nil || e.Wanted != nil {
					t.Fatalf("released, and it has %v and wants %v", e.Ports, e.Wanted)
				}
				if fixed { // other numbers may have gone to other ports meanwhile
					nothingIsMissed(t, endpoints)
				}
				oneOwner(t, endpoints)
				continue
			}
			r := request(e, e.ID == "four" && rapid.Bool().Draw(t, "v4Only"), entries...)
			before := served(endpoints, fixed)
			once := publish(t, endpoints, r)
			oneOwner(t, once)
			after := served(once, fixed)
			for s, owner := range before {
				if _, ok := after[s]; !ok && owner != e.ID {
					t.Fatalf("%s asks for %v, and nobody has %s, which %s had", e.ID, r.Ports, s, owner)
				} else if ok && fixed && after[s] != owner && after[s] != e.ID {
					t.Fatalf("%s asks, and %s goes from %s to %s", e.ID, s, owner, after[s])
				}
			}
			if twice := publish(t, once, r); !reflect.DeepEqual(twice, once) {
				t.Fatalf("%s asks again, and\n%+v becomes\n%+v", e.ID, once, twice)
			}
			endpoints = once
		}
	})
}

// nothingIsMissed fails the test if an endpoint wants a slot with a fixed number that no
// endpoint has.
func nothingIsMissed(t *rapid.T, endpoints []model.Endpoint) {
	for _, e := range endpoints {
		for _, r := range e.Wanted {
			if choice(r) != 0 {
				continue
			}
			for _, f := range model.Families() {
				target := *r.Target(f)
				if !target.Wanted() {
					continue
				}
				// A relay may be left out where another endpoint has the other family.
				if !sameFamily(target) && r.V4.Wanted() {
					continue
				}
				if !slices.ContainsFunc(endpoints, func(o model.Endpoint) bool {
					return slices.ContainsFunc(slices.Collect(slotsOf(o)), func(s slot) bool {
						return s.Proto == r.Proto && s.Host.Port() == r.First && s.conflicts(target)
					})
				}) {
					t.Fatalf("%s wants %v, and nobody has it:\n%+v", e.ID, r, endpoints)
				}
			}
		}
	}
}

// In whatever order endpoints ask for the same, the container has the same host ports in
// the end; and where one is the default route by IPv4 and the other that by IPv6, each
// port leads to the same endpoint.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := drawEntries(t, true)
		pair := rapid.SampledFrom([][]string{{"four", "six"}, {"four", "dual"}, {"dual", "six"}}).Draw(t, "pair")
		v4Only := pair[0] == "four"
		var results []map[string]string
		for _, order := range [][]string{pair, {pair[1], pair[0]}} {
			endpoints := container()
			for _, id := range order {
				after, err := Publish(endpoints, request(get(t, endpoints, id), v4Only && id == "four", entries...), lowest(endpoints))
				if err != nil {
					t.Skip(err) // two entries for one port, of two endpoints
				}
				endpoints = after
			}
			results = append(results, served(endpoints, true))
		}
		if !v4Only {
			for _, r := range results {
				for s := range r {
					r[s] = ""
				}
			}
		}
		if !reflect.DeepEqual(results[0], results[1]) {
			t.Fatalf("%v: %v, and the other way round %v", pair, results[0], results[1])
		}
	})
}

// A port has one number in both families, unless somebody else has it in one of them.
func TestSameNumbers(t *testing.T) {
	any80 := entry{proto: model.TCP, port: 80}
	for name, c := range map[string]struct {
		others []uint16
		want   []string
	}{
		"free":  {nil, []string{"tcp [::]:32768 -> [fd00:3::2]:80"}},
		"taken": {[]uint16{32768}, []string{"tcp [::]:32769 -> [fd00:3::2]:80"}},
	} {
		t.Run(name, func(t *testing.T) {
			endpoints, err := Publish(container(), request(container()[1], true, any80), lowest(nil))
			if err != nil {
				t.Fatal(err)
			}
			reserve := func(reqs []model.PortRequest) ([]model.PortBinding, error) {
				if slices.ContainsFunc(reqs, func(r model.PortRequest) bool { return r.V6.Wanted() && slices.Contains(c.others, r.First) }) {
					return nil, model.Conflict("taken")
				}
				return lowest(nil)(reqs)
			}
			if len(c.others) > 0 {
				free := reserve
				reserve = func(reqs []model.PortRequest) ([]model.PortBinding, error) {
					if _, err := free(reqs); err != nil {
						return nil, err
					}
					return []model.PortBinding{
						{Proto: model.TCP, Host: netip.MustParseAddrPort("0.0.0.0:32768"), Container: netip.MustParseAddrPort("10.1.0.2:80"), Count: 1},
						{Proto: model.TCP, Host: netip.MustParseAddrPort("[::]:32769"), Container: netip.MustParseAddrPort("[fd00:3::2]:80"), Count: 1},
					}, nil
				}
			}
			endpoints, err = Publish(endpoints, request(container()[2], false, any80), reserve)
			if err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, b := range get(t, endpoints, "six").Ports {
				have = append(have, b.String())
			}
			if !slices.Equal(have, c.want) {
				t.Errorf("have %q, want %q", have, c.want)
			}
		})
	}
}

// An error of the reservation is the caller's, and one that is no conflict is not tried
// again.
func TestReservationFails(t *testing.T) {
	broken, tries := errors.New("no more sockets"), 0
	_, err := Publish(container(), request(container()[0], false, entry{proto: model.TCP, port: 80, first: 8080, last: 8080}), func([]model.PortRequest) ([]model.PortBinding, error) {
		tries++
		return nil, broken
	})
	if !errors.Is(err, broken) || tries != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

// release returns the endpoints with that of an ID having and wanting no ports.
func release(endpoints []model.Endpoint, id string) []model.Endpoint {
	after := slices.Clone(endpoints)
	for i := range after {
		if after[i].ID == id {
			after[i].Ports, after[i].Wanted = nil, nil
		}
	}
	return after
}
