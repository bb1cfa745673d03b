package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// BenchmarkWatch makes, publishes and removes endpoints, in turn on a mybr that watches
// for what others do and one that doesn't, both with 200 endpoints. It reports how many
// times as long each call takes with watching, by the medians.
func BenchmarkWatch(b *testing.B) {
	worlds := []*world.World{
		world.New(b, world.Config{Driver: "mybr"}),
		world.New(b, world.Config{Driver: "mybr", MybrArgs: []string{"--resync-interval", "0"}}),
	}
	id := func(kind string, n int) string { return fmt.Sprintf("%08x%s%052d", n+1, kind, 0) }
	call := func(w *world.World, method string, body object) time.Duration {
		begun := time.Now()
		if err := request(b.Context(), w, "NetworkDriver."+method, body); err != nil {
			b.Fatal(err)
		}
		return time.Since(begun)
	}
	endpoint := func(i int) object {
		return object{"NetworkID": id("beef", 0), "EndpointID": id("cafe", i)}
	}
	create := func(w *world.World, i int) time.Duration {
		e := endpoint(i)
		e["Interface"] = object{"Address": fmt.Sprintf("10.60.%d.%d/16", 1+i/250, 1+i%250)}
		return call(w, "CreateEndpoint", e)
	}
	const there = 200
	for _, w := range worlds {
		call(w, "CreateNetwork", networkRequest(id("beef", 0), 60))
		for i := range there {
			create(w, i)
		}
	}
	var spent [3][2][]time.Duration // by call and world
	i := there
	for b.Loop() {
		for n := range worlds {
			turn := (n + i) % 2
			w := worlds[turn]
			note := func(of int, took time.Duration) { spent[of][turn] = append(spent[of][turn], took) }
			note(0, create(w, i))
			join := endpoint(i)
			join["SandboxKey"] = fmt.Sprint("/var/run/docker/netns/", i)
			call(w, "Join", join)
			publish := endpoint(i)
			publish["Options"] = object{"com.docker.network.portmap": []object{{"Proto": 6, "Port": 80, "HostPort": 8080, "HostPortEnd": 8080}}}
			note(1, call(w, "ProgramExternalConnectivity", publish))
			call(w, "Leave", endpoint(i))
			note(2, call(w, "DeleteEndpoint", endpoint(i)))
		}
		i++
	}
	for n, name := range []string{"create", "publish", "delete"} {
		with, without := median(spent[n][0]), median(spent[n][1])
		b.ReportMetric(with.Seconds()/without.Seconds(), name+"-ratio")
		b.ReportMetric(with.Seconds()*1000, name+"-ms")
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
