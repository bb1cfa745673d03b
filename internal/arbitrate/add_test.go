package arbitrate

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
)

// What is added is had beside all that the endpoints of the sandbox have, or nothing changes.
func TestAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) entry {
			e := entry{proto: rapid.SampledFrom([]model.Proto{model.TCP, model.UDP}).Draw(t, "proto"), port: rapid.Uint16Range(80, 83).Draw(t, "port"),
				host: rapid.SampledFrom([]string{"", "", "192.0.2.1"}).Draw(t, "host")}
			if rapid.Bool().Draw(t, "named") {
				e.first = rapid.Uint16Range(8000, 8005).Draw(t, "first")
				e.last = e.first + rapid.Uint16Range(0, 3).Draw(t, "more")
			}
			return e
		}), 1, 3)
		endpoints := container()
		for _, i := range []int{0, 2} {
			r := request(endpoints[i], i == 0, entries.Draw(t, "docker")...)
			if after, err := Publish(endpoints, r, lowest(endpoints)); err == nil {
				endpoints = after
			}
		}
		before := fmt.Sprintf("%+v", endpoints)
		id := rapid.SampledFrom(endpoints).Draw(t, "endpoint")
		extra := request(id, false, entries.Draw(t, "added")...).Ports
		after, err := Add(endpoints, id.ID, extra, lowest(endpoints))
		if have := fmt.Sprintf("%+v", endpoints); have != before {
			t.Fatalf("it changed what it was given:\n%s\n%s", before, have)
		}
		if err != nil {
			if !errors.Is(err, model.ErrConflict) {
				t.Fatal(err)
			}
			return
		}
		for i, e := range after {
			had, has := map[slot]bool{}, map[slot]bool{}
			for s := range slotsOf(endpoints[i]) {
				had[s] = true
			}
			for s := range slotsOf(e) {
				has[s] = true
			}
			for s := range had {
				if !has[s] {
					t.Fatalf("endpoint %s has lost %v", e.ID, s)
				}
				delete(has, s)
			}
			if e.ID != id.ID {
				if len(has) > 0 || !reflect.DeepEqual(e.Wanted, endpoints[i].Wanted) {
					t.Fatalf("endpoint %s has changed: %v", e.ID, e)
				}
				continue
			}
			if e.Wanted != nil && len(e.Wanted) != len(endpoints[i].Wanted)+len(extra) {
				t.Fatalf("it wants %v", e.Wanted)
			}
			for _, r := range extra { // each of them has a number of its own, or one with its equals
				if !slices.ContainsFunc([]model.Target{r.V4, r.V6}, func(w model.Target) bool {
					for s := range has {
						if w.Wanted() && s.Proto == r.Proto && s.target() == w && (r.First == 0 || r.First <= s.Host.Port() && s.Host.Port() <= r.Last) {
							return true
						}
					}
					return false
				}) {
					t.Fatalf("%v is not among %v", r, has)
				}
			}
		}
	})
}

// A port that the sandbox has is refused in Docker's words, whichever endpoint has it.
func TestAddRefuses(t *testing.T) {
	endpoints := container()
	docker := entry{proto: model.TCP, port: 80, first: 8080, last: 8080}
	endpoints, err := Publish(endpoints, request(endpoints[1], true, docker), lowest(endpoints))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		endpoint int
		entry    entry
		says     string
	}{
		{1, docker, "Bind for 0.0.0.0:8080 failed: port is already allocated"},
		{0, docker, "Bind for 0.0.0.0:8080 failed: port is already allocated"},
		{0, entry{proto: model.TCP, port: 80, host: "192.0.2.1", first: 8080, last: 8080}, "Bind for 192.0.2.1:8080 failed: port is already allocated"},
		{0, entry{proto: model.UDP, port: 80, first: 8080, last: 8080}, ""},
		{0, entry{proto: model.TCP, port: 80, first: 8080, last: 8081}, ""},
		{0, entry{proto: model.TCP, port: 80}, ""},
		{2, docker, ""}, // of IPv6 alone, which the other one has not
	} {
		e := endpoints[c.endpoint]
		_, err := Add(endpoints, e.ID, request(e, false, c.entry).Ports, lowest(endpoints))
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, model.ErrConflict) || err.Error() != c.says) {
			t.Errorf("%s %+v: %v, want %q", e.ID, c.entry, err, c.says)
		}
	}
}
