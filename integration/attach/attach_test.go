package attach

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What a container costs does not grow with the containers beside it: no call makes more than
// one commit, only those that change the host wait for a pass, and a pass asks the kernel for
// what has changed alone.
func TestCostsDoNotGrow(t *testing.T) {
	costs := map[int]map[string]counts{}
	for _, endpoints := range []int{2, 200} {
		t.Run(fmt.Sprint(endpoints), func(t *testing.T) { costs[endpoints] = cost(t, endpoints) })
	}
	for call, few := range costs[2] {
		if many := costs[200][call]; few != many {
			t.Errorf("%s: %+v beside 2 endpoints, %+v beside 200", call, few, many)
		}
		if few.commits > 1 || few.passes > 1 {
			t.Errorf("%s: %d commits and %d passes", call, few.commits, few.passes)
		}
	}
	for call, want := range map[string]counts{
		"plain NetworkDriver.CreateEndpoint":                {commits: 1, passes: 1, links: 3, settings: 1},
		"plain NetworkDriver.Join":                          {commits: 1},
		"plain NetworkDriver.ProgramExternalConnectivity":   {},
		"plain NetworkDriver.EndpointOperInfo":              {},
		"plain NetworkDriver.RevokeExternalConnectivity":    {},
		"plain NetworkDriver.Leave":                         {commits: 1},
		"plain NetworkDriver.DeleteEndpoint":                {commits: 1, passes: 1, links: 1},
		"publish NetworkDriver.ProgramExternalConnectivity": {commits: 1, passes: 1, links: 1, programs: 2},
		"publish NetworkDriver.RevokeExternalConnectivity":  {commits: 1, passes: 1, links: 1, programs: 2},
		"publish NetworkDriver.DeleteEndpoint":              {commits: 1, passes: 1, links: 1},
	} {
		have, ok := costs[2][call]
		if !ok {
			t.Errorf("%s was not called", call)
		}
		if have.programs < want.programs { // it may do with fewer
			want.programs = have.programs
		}
		if have != want {
			t.Errorf("%s: %+v, want %+v", call, have, want)
		}
	}
}

// cost is what each call costs beside so many endpoints.
func cost(t *testing.T, endpoints int) map[string]counts {
	w := newWorld(t)
	ids := w.fill(1, endpoints)
	w.start()
	all := map[string]counts{}
	for i, kind := range []string{"plain", "publish"} {
		w.counts()
		note := func(call string, _ time.Duration) { all[kind+" "+call] = w.counts() }
		a := w.attach(ids[0], w.address(), port(8080*i), note)
		left := w.await("link: all has left")
		w.detach(a, note)
		select {
		case <-left:
		case <-time.After(time.Minute):
			t.Fatal("the pair is not destroyed")
		}
		if links := w.host.Run("ip", "-o", "link"); strings.Contains(links, "veth"+a.id[:10]) {
			t.Errorf("beside %d endpoints a pair is left:\n%s", endpoints, links)
		}
	}
	return all
}
