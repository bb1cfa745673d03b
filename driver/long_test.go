package driver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// longWithin is for what takes a fraction of a second, unless it takes the square of the
// number of things that are listed: then it is minutes. With the race detector, on a machine that
// runs other tests as well, it can be half a minute.
const longWithin = 90 * time.Second

// listed is n texts with commas between.
func listed(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+",", i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// What is as long as a request can be takes no time that others would notice, and what each
// container or rule would have its part of is refused.
func TestLongLists(t *testing.T) {
	w := newWorld(t)
	w.ports.hasIPv6 = true
	begun := time.Now()
	aux := map[string]any{}
	for i := range 250000 {
		aux[fmt.Sprint(i)] = fmt.Sprintf("10.%d.%d.%d/8", 1+i>>16, i>>8&0xff, i&0xff)
	}
	create := func(id string, second int, aux map[string]any, option, value string) error {
		return w.CreateNetwork(ctx, &network.CreateNetworkRequest{
			NetworkID: id, Options: map[string]any{optGeneric: map[string]any{option: value}},
			IPv4Data: []*network.IPAMData{{Pool: fmt.Sprintf("10.%d.0.0/16", second), Gateway: fmt.Sprintf("10.%d.0.1/16", second), AuxAddresses: aux}},
		})
	}
	err := create(netA, 1, aux, optMTU, "1400")
	wantErr(t, err, model.ErrInvalid, "create network a1a1a1a1a1a1: subnet 10.1.0.0/16 has no address beside 10.1.0.0, 10.1.0.1, 10.1.0.2, 10.1.0.3, 10.1.0.4, 10.1.0.5, 10.1.0.6, 10.1.0.7, and 249992 more, so that no container could join: give a wider one (--subnet)")
	must(t, create(netA, 100, aux, optMTU, "1400"))
	must(t, create(netB, 2, nil, optRoutes, listed("192.0.%d.0/24", 256)))
	for option, value := range map[string]string{
		optRoutes:  listed("11.%d.0.0/32", 1) + "," + listed("12.%[1]d.%[1]d.0/24", 1) + "," + strings.Repeat("x", 1<<20),
		optTrusted: strings.ReplaceAll(listed("e%d", 800000), ",", ":"),
	} {
		err := create(strings.Repeat("c3", 32), 3, nil, option, value)
		if wantErr(t, err, model.ErrInvalid, err.Error()); len(err.Error()) > 1000 || !strings.Contains(err.Error(), option) {
			t.Errorf("%.2000s", err)
		}
	}
	many := strings.Builder{}
	for i := range 400000 {
		fmt.Fprintf(&many, "%d.%d.%d.0/24,", 1+i>>16, i>>8&0xff, i&0xff)
	}
	err = create(strings.Repeat("c3", 32), 3, nil, optRoutes, many.String())
	wantErr(t, err, model.ErrInvalid, fmt.Sprintf("create network c3c3c3c3c3c3: failed to parse %s value: %s (there are more than 1000 routes)", optRoutes, many.String()[:longestValue]+"…"))
	if took := time.Since(begun); took > longWithin {
		t.Errorf("it took %s", took)
	}
}

// A container can publish a hundred thousand ports. Of a host address that does not matter
// there is one word in the log.
func TestHundredThousandPorts(t *testing.T) {
	w := newWorld(t)
	must(t, w.CreateNetwork(ctx, &network.CreateNetworkRequest{
		NetworkID: netA, Options: map[string]any{optGeneric: map[string]any{optMode + "ipv4": "routed"}},
		IPv4Data: []*network.IPAMData{{Pool: "10.1.0.0/16", Gateway: "10.1.0.1/16"}},
	}))
	_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: ep1, Interface: &network.EndpointInterface{Address: "10.1.0.2/16"}})
	must(t, err)
	begun := time.Now()
	var ports []any
	for i := range 100000 {
		ports = append(ports, map[string]any{"Proto": []int{6, 17}[i/65535], "Port": i%65535 + 1, "HostIP": "192.0.2.7"})
	}
	opts := map[string]any{optPortMap: ports}
	_, err = w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: ep1, SandboxKey: sandbox, Options: opts})
	must(t, err)
	if open := w.endpointRecord(ep1).OpenV4; len(open) != 2 || open[0].Count != 65535 || open[1].Count != 34465 {
		t.Errorf("open are %v", open)
	}
	must(t, w.ProgramExternalConnectivity(ctx, &network.ProgramExternalConnectivityRequest{NetworkID: netA, EndpointID: ep1, Options: opts}))
	if len(w.said) != 1 || !strings.Contains(w.said[0], "host address 192.0.2.7 of its port 1/tcp does not matter") {
		t.Errorf("%d warnings", len(w.said))
	}
	if took := time.Since(begun); took > longWithin {
		t.Errorf("it took %s", took)
	}
	opts[optPortMap] = make([]any, maxEntries+1)
	err = w.ProgramExternalConnectivity(ctx, &network.ProgramExternalConnectivityRequest{NetworkID: netA, EndpointID: ep1, Options: opts})
	wantErr(t, err, model.ErrInvalid, "publish ports of endpoint e1e1e1e1e1e1: option com.docker.network.portmap: there are 196606 ports: a container has 196605 at most")
}

// What is recorded as Docker has it is short and can be printed.
func TestTextsOfDocker(t *testing.T) {
	w := newWorld(t)
	w.running()
	before := w.store.Snapshot()
	for key, want := range map[string]string{
		strings.Repeat("x", maxSandbox+1): "has 4097 bytes: want at most 4096",
		"/run/a\nb":                       `"/run/a\nb" can't be printed as it is`,
		"/run/\x1b[2J":                    `"/run/\x1b[2J" can't be printed as it is`,
		"/run/\xff":                       `"/run/\xff" can't be printed as it is`,
		"/run/\u202e":                     `"/run/\u202e" can't be printed as it is`,
	} {
		_, err := w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: ep1, SandboxKey: key})
		if err == nil || !strings.Contains(err.Error(), "the sandbox key "+want) {
			t.Errorf("%q: %v", key, err)
		}
		err = w.CreateNetwork(ctx, &network.CreateNetworkRequest{NetworkID: netB, IPv4Data: []*network.IPAMData{{AddressSpace: key, Pool: "10.9.0.0/24", Gateway: "10.9.0.1/24"}}})
		if err == nil || !strings.Contains(err.Error(), "the address space ") {
			t.Errorf("%q: %v", key, err)
		}
	}
	if now := w.store.Snapshot(); len(now.Networks) != len(before.Networks) || now.Endpoints[0].Sandbox != before.Endpoints[0].Sandbox {
		t.Errorf("it left %+v", now)
	}
}
