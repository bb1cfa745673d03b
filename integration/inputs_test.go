package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/store"
)

// wrong is one input that must be refused. Either docker is a command line without the
// word docker, or call and body are a request on mybr's socket.
type wrong struct {
	docker     string
	call, body string
	status     int    // of the call's answer
	want       string // the last line that docker prints, or the answer's Err; IDs are <id>
	since28    string // want, if it differs from Engine 28 on
}

// expected is what the engine's client prints at last: from Engine 28 on, Docker asks for a
// network's gateways before it makes it, and run says more.
func (c wrong) expected(since28 bool) string {
	want := c.want
	if since28 && c.since28 != "" {
		want = c.since28
	}
	for mark, texts := range map[string][2]string{
		refusedOption: {refusedCreate, "Error response from daemon: NetworkDriver.GwAllocCheck: create network: "},
		refusedPorts: {
			"docker: Error response from daemon: driver failed programming external connectivity on endpoint victim (<id>): NetworkDriver.ProgramExternalConnectivity: ",
			"docker: Error response from daemon: failed to set up container networking: driver failed programming external connectivity on endpoint victim (<id>): NetworkDriver.ProgramExternalConnectivity: ",
		},
	} {
		text := texts[0]
		if since28 {
			text = texts[1]
		}
		want = strings.ReplaceAll(want, mark, text)
	}
	return want
}

const (
	refusedCreate = "Error response from daemon: NetworkDriver.CreateNetwork: create network <id>: "
	refusedOption = "{option}" // stands for refusedCreate, and what it is from Engine 28 on: see expected
	refusedPorts  = "{ports}"
	netNew        = "network create -d mybr --subnet 10.77.0.0/24 "
	runNew        = "run -d --name victim --net net "
	noObject      = ": want a JSON object (when its connection to mybr breaks, Docker repeats the call without a body: try again)"
)

// wrongInputs are sent one after the other to an engine that has the network "net"
// (172.18.0.0/16, mybr0), its container "web" (172.18.0.2, host port 8080), and on
// the host a TCP server at port 9999.
var wrongInputs = []wrong{
	// Options of a network.
	{docker: netNew + "-o foo=bar x", want: refusedOption + `option foo is not known`},
	{docker: netNew + "-o com.docker.network.driver.mtu=abc x", want: refusedOption + `failed to parse com.docker.network.driver.mtu value: abc (strconv.Atoi: parsing "abc": invalid syntax): want a number of bytes from 68 to 65535`},
	{docker: netNew + "-o com.docker.network.driver.mtu=-1 x", want: refusedOption + `failed to parse com.docker.network.driver.mtu value: -1 (invalid MTU number: -1): want a number of bytes from 68 to 65535`},
	{docker: netNew + "-o com.docker.network.driver.mtu=67 x", want: refusedOption + `failed to parse com.docker.network.driver.mtu value: 67 (invalid argument): want a number of bytes from 68 to 65535`},
	{docker: netNew + "--ipv6 --subnet fd77::/64 -o com.docker.network.driver.mtu=1000 x", want: refusedCreate + `bridge br-<id>: add address fd77::1/64: IPv6 needs an MTU of at least 1280, have 1000: invalid argument`},
	{docker: netNew + "-o com.docker.network.driver.mtu=65536 x", want: refusedOption + `failed to parse com.docker.network.driver.mtu value: 65536 (invalid argument): want a number of bytes from 68 to 65535`},
	{docker: netNew + "-o com.docker.network.bridge.enable_icc=maybe x", want: refusedOption + `failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing "maybe": invalid syntax): want true or false`},
	{docker: netNew + "-o com.docker.network.bridge.enable_ip_masquerade=2 x", want: refusedOption + `failed to parse com.docker.network.bridge.enable_ip_masquerade value: 2 (strconv.ParseBool: parsing "2": invalid syntax): want true or false`},
	{docker: netNew + "-o com.docker.network.bridge.inhibit_ipv4=yes x", want: refusedOption + `failed to parse com.docker.network.bridge.inhibit_ipv4 value: yes (strconv.ParseBool: parsing "yes": invalid syntax): want true or false`},
	{docker: netNew + "-o com.docker.network.bridge.host_binding_ipv4=localhost x", want: refusedOption + `failed to parse com.docker.network.bridge.host_binding_ipv4 value: localhost (nil ip): want an IP address`},
	{docker: netNew + "-o com.docker.network.bridge.host_binding_ipv4=224.0.0.1 x", want: refusedOption + `failed to parse com.docker.network.bridge.host_binding_ipv4 value: 224.0.0.1 (invalid argument): want an address that a host can have`},
	{docker: netNew + "-o com.docker.network.host_ipv4=::1 x", want: refusedOption + `failed to parse com.docker.network.host_ipv4 value: ::1 (invalid argument): want an IPv4 address that can be a source address`},
	{docker: netNew + "-o com.docker.network.host_ipv6=foo x", want: refusedOption + `failed to parse com.docker.network.host_ipv6 value: foo (nil ip): want an IPv6 address that can be a source address`},
	{docker: netNew + "-o com.docker.network.host_ipv6=192.0.2.2 x", want: refusedOption + `failed to parse com.docker.network.host_ipv6 value: 192.0.2.2 (invalid argument): want an IPv6 address that can be a source address`},
	{docker: netNew + "-o com.docker.network.container_iface_prefix=fourteen-bytes x", want: refusedOption + `failed to parse com.docker.network.container_iface_prefix value: fourteen-bytes ("fourteen-bytes" is not 1 to 13 bytes long)`},
	{docker: netNew + "-o com.docker.network.bridge.gateway_mode_ipv4=bridge x", want: refusedOption + `failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: bridge (unknown gateway mode bridge): want nat, nat-unprotected, routed or isolated`},
	{docker: netNew + "-o com.docker.network.bridge.gateway_mode_ipv6= x", want: refusedOption + `failed to parse com.docker.network.bridge.gateway_mode_ipv6 value:  (unknown gateway mode ): want nat, nat-unprotected, routed or isolated`},
	{docker: netNew + "-o com.docker.network.bridge.gateway_mode_ipv4=isolated x", want: refusedOption + `option com.docker.network.bridge.gateway_mode_ipv4: gateway mode 'isolated' can only be used for an internal network`},
	{docker: netNew + "-o com.docker.network.bridge.gateway_mode_ipv6=isolated x", want: refusedOption + `option com.docker.network.bridge.gateway_mode_ipv6: gateway mode 'isolated' can only be used for an internal network`},
	{docker: netNew + "-o com.docker.network.bridge.trusted_host_interfaces=eth0:a/b x", want: refusedOption + `failed to parse com.docker.network.bridge.trusted_host_interfaces value: eth0:a/b ("a/b" has other characters than letters, digits, _, . and (not at the beginning) -)`},
	{docker: netNew + "-o com.docker.network.bridge.default_bridge=true x", want: refusedOption + `option com.docker.network.bridge.default_bridge: true: only docker0 is Docker's default bridge, which a plugin can't provide: leave it out`},
	{docker: netNew + "-o com.docker.network.advertise_addr_nmsgs=foo x", want: refusedOption + `value for option com.docker.network.advertise_addr_nmsgs "foo" must be an integer`, since28: `Error response from daemon: value for option com.docker.network.advertise_addr_nmsgs "foo" must be an integer`},
	{docker: netNew + "-o com.docker.network.advertise_addr_nmsgs=4 x", want: refusedOption + `com.docker.network.advertise_addr_nmsgs must be in the range 0 to 3: it is 4`, since28: `Error response from daemon: com.docker.network.advertise_addr_nmsgs must be in the range 0 to 3`},
	{docker: netNew + "-o com.docker.network.advertise_addr_ms=99 x", want: refusedOption + `com.docker.network.advertise_addr_ms must be in the range 100 to 2000: it is 99`, since28: `Error response from daemon: com.docker.network.advertise_addr_ms must be in the range 100 to 2000`},
	{docker: netNew + "-o mybr.routes=10.9.0.0 x", want: refusedOption + `failed to parse mybr.routes value: 10.9.0.0 ("10.9.0.0" does not begin with a prefix such as 10.9.0.0/16 or fd00:9::/64)`},
	// Names of bridges.
	{docker: netNew + "-o com.docker.network.bridge.name=sixteen-bytes-ab x", want: refusedOption + `failed to parse com.docker.network.bridge.name value: sixteen-bytes-ab ("sixteen-bytes-ab" is not 1 to 15 bytes long)`},
	{docker: netNew + "-o com.docker.network.bridge.name=a/b x", want: refusedOption + `failed to parse com.docker.network.bridge.name value: a/b ("a/b" has other characters than letters, digits, _, . and (not at the beginning) -)`},
	{docker: netNew + "-o com.docker.network.bridge.name=mybr0 x", want: refusedCreate + `cannot create network <id> (mybr0): conflicts with network <id> (mybr0): networks have same bridge name`},
	{docker: netNew + "-o com.docker.network.bridge.name=eth0 x", want: refusedCreate + `existing interface eth0 is not a bridge`},
	// Subnets and addresses of a network.
	{docker: "network create -d mybr --ipam-driver null x", want: refusedCreate + `ipv4 pool is empty: subnet 0.0.0.0/0 is none, and the IPAM driver null has no other`},
	{docker: "network create -d mybr --subnet 192.0.2.0/24 x", want: refusedCreate + `subnet 192.0.2.0/24 contains 192.0.2.2, an address of interface eth0`},
	{docker: "network create -d mybr --ipam-driver mybr --subnet 172.18.5.0/24 -o com.docker.network.bridge.name=x0 x", want: refusedCreate + `cannot create network <id> (x0): conflicts with network <id> (mybr0): networks have overlapping IPv4: 172.18.5.0/24 and 172.18.0.0/16`},
	{docker: "network create -d mybr --subnet 10.77.0.0/24 --subnet 10.78.0.0/24 x", want: refusedCreate + `there are 2 IPv4 subnets: bridge driver doesn't support multiple subnets`},
	{docker: "network create -d mybr --ipv6 --subnet 10.77.0.0/24 --subnet fd00:77::/64 --subnet fd00:78::/64 x", want: refusedCreate + `there are 2 IPv6 subnets: bridge driver doesn't support multiple subnets`},
	{docker: "network create -d mybr --ipv6 --subnet 10.77.0.0/24 --subnet fe80::/63 x", want: refusedCreate + `'fe80::1/63' clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it`},
	{docker: "network create -d mybr --ipv6 --subnet 10.77.0.0/24 --subnet ff02::/64 x", want: refusedCreate + `multicast subnet 'ff02::1/64' is not allowed`},
	{docker: "network create -d mybr --ipv6 --subnet 10.77.0.0/24 --subnet ::/64 x", want: refusedCreate + `subnet ::/64 overlaps ::/128 (unspecified), which no host can have addresses of`},
	{docker: "network create -d mybr --ipv6 --subnet 10.77.0.0/24 --subnet fd00:77::/64 -o mybr.routes=fd00:9::/64,fd00:77::/64 x", want: refusedCreate + `option mybr.routes: fd00:77::/64 is the subnet of the network`},
	{docker: "network create -d mybr --subnet 10.77.0.0/24 -o mybr.routes=fd00:9::/64 x", want: refusedCreate + `option mybr.routes: fd00:9::/64 is an IPv6 prefix, but IPv6 is off`},
	{docker: "network create -d mybr --internal --subnet 10.77.0.0/24 --aux-address DefaultGatewayIPv4=10.77.0.9 x", want: refusedCreate + `auxiliary address DefaultGatewayIPv4: no gateway can be set on an internal bridge network`},
	{docker: "network create -d mybr --internal --ipv6 --subnet 10.77.0.0/24 --subnet fd00:77::/64 --aux-address DefaultGatewayIPv6=fd00:77::9 x", want: refusedCreate + `auxiliary address DefaultGatewayIPv6: no gateway can be set on an internal bridge network`},
	{docker: "network create -d mybr --ipam-driver mybr --subnet 10.77.0.0/24 --gateway 10.77.0.255 x", want: `Error response from daemon: failed to allocate gateway (10.77.0.255): IpamDriver.RequestAddress: request address 10.77.0.255: the broadcast address of pool mybr-local/10.77.0.0/24`},
	{docker: "network create -d mybr --internal --subnet 10.77.0.0/24 -o mybr.routes=10.77.0.0/24 x", want: refusedCreate + `option mybr.routes: 10.77.0.0/24 is the subnet of the network`},
	// Address pools.
	{docker: "network create -d mybr --ipam-driver mybr --ipam-opt foo=bar --subnet 10.77.0.0/24 x", want: `Error response from daemon: IpamDriver.RequestPool: request pool 10.77.0.0/24: option "foo" (--ipam-opt) is unknown`},
	{docker: "network create -d mybr --ipam-driver mybr --subnet 10.77.0.0/24 --gateway 10.77.0.0 x", want: `Error response from daemon: failed to allocate gateway (10.77.0.0): IpamDriver.RequestAddress: request address 10.77.0.0: the network address of pool mybr-local/10.77.0.0/24`},
	{call: "IpamDriver.RequestPool", body: `{"AddressSpace":"mars","Pool":"10.77.0.0/24"}`, status: 400, want: `request pool 10.77.0.0/24: address space "mars" is unknown: want mybr-local or mybr-global`},
	{call: "IpamDriver.RequestPool", body: `{"AddressSpace":"mybr-local","Pool":"10.77.0/24"}`, status: 400, want: `request pool 10.77.0/24: subnet "10.77.0/24" is not in CIDR notation, like 172.18.0.0/16`},
	{call: "IpamDriver.RequestPool", body: `{"AddressSpace":"mybr-local","Pool":"10.77.0.0/24","SubPool":"10.78.0.0/26"}`, status: 400, want: `request pool 10.77.0.0/24: sub-pool 10.78.0.0/26 (--ip-range) is not part of the subnet`},
	{call: "IpamDriver.RequestAddress", body: `{"PoolID":"nowhere","Address":""}`, status: 500, want: `request address: pool nowhere: not found`},
	// Endpoints.
	{docker: runNew + "--ip 172.18.255.255 guest sleep", want: `docker: Error response from daemon: Address already in use`, since28: `docker: Error response from daemon: failed to set up container networking: Address already in use`},
	{call: "NetworkDriver.CreateEndpoint", body: `{"NetworkID":"NET","EndpointID":"feedfacefeedface","Interface":{"Address":"172.19.0.2/16"}}`, status: 400, want: `create endpoint <id>: address 172.19.0.2 is not in subnet 172.18.0.0/16`},
	{call: "NetworkDriver.CreateEndpoint", body: `{"NetworkID":"NET","EndpointID":"feedfacefeedface","Interface":{"Address":"172.18.0.9/16","MacAddress":"01:00:5e:00:00:01"}}`, status: 400, want: `create endpoint <id>: "01:00:5e:00:00:01" is not the MAC address of an interface`},
	{call: "NetworkDriver.CreateEndpoint", body: `{"NetworkID":"NET","EndpointID":"feedfacefeedface","Interface":{"Address":"172.18.0.9/16"},"Options":{"color":"red"}}`, status: 400, want: `create endpoint <id>: option color is not known`},
	{call: "NetworkDriver.CreateEndpoint", body: `{"NetworkID":"NET","EndpointID":"../feedface","Interface":{"Address":"172.18.0.9/16"}}`, status: 400, want: `create endpoint "../feedface": the endpoint ID "../feedface" has other characters than letters, digits, _ and -`},
	{call: "NetworkDriver.CreateEndpoint", body: `{"NetworkID":"beefbeefbeefbeef","EndpointID":"feedfacefeedface","Interface":{"Address":"172.18.0.9/16"}}`, status: 500, want: `create endpoint <id>: network <id> is not known to mybr: if Docker has it, remove it and create it again`},
	{call: "NetworkDriver.Join", body: `{"NetworkID":"NET","EndpointID":"feedfacefeedface","SandboxKey":"/var/run/docker/netns/x"}`, status: 500, want: `join endpoint <id>: the endpoint is not known to mybr on network <id>`},
	// Ports.
	{docker: runNew + "-p 8080:80 guest sleep", want: refusedPorts + `Bind for 0.0.0.0:8080 failed: port is already allocated`},
	{docker: runNew + "-p 192.0.2.2:8080:80 guest sleep", want: refusedPorts + `Bind for 192.0.2.2:8080 failed: port is already allocated`},
	{docker: runNew + "-p 8079-8081:79-81 guest sleep", want: refusedPorts + `Bind for 0.0.0.0:8080 failed: port is already allocated`},
	{docker: runNew + "--ip 172.18.0.9 -p 9999:80 guest sleep", want: refusedPorts + `failed to bind host port for 0.0.0.0:9999:172.18.0.9:80/tcp: address already in use`},
	{docker: runNew + "--ip 172.18.0.9 -p 203.0.113.9:8088:80 guest sleep", want: refusedPorts + `failed to bind host port for 203.0.113.9:8088:172.18.0.9:80/tcp: cannot assign requested address`},
	{call: "NetworkDriver.ProgramExternalConnectivity", body: `{"NetworkID":"NET","EndpointID":"WEB","Options":{"com.docker.network.portmap":[{"Proto":1,"Port":80,"HostPort":8081}]}}`, status: 400, want: `publish ports of endpoint <id>: protocol 1 has no ports that can be published: tcp, udp and sctp have`},
	{call: "NetworkDriver.ProgramExternalConnectivity", body: `{"NetworkID":"NET","EndpointID":"WEB","Options":{"com.docker.network.portmap":[{"Proto":6,"Port":70000,"HostPort":8081}]}}`, status: 400, want: `publish ports of endpoint <id>: option com.docker.network.portmap: Port: have number 70000, want a number from 0 to 65535`},
	{call: "NetworkDriver.ProgramExternalConnectivity", body: `{"NetworkID":"NET","EndpointID":"WEB","Options":{"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostIP":"web","HostPort":8081}]}}`, status: 400, want: `publish ports of endpoint <id>: host address: web (nil ip): want an IP address`},
	// Bodies.
	{call: "NetworkDriver.CreateNetwork", body: ``, status: 400, want: `the request is ""` + noObject},
	{call: "NetworkDriver.CreateNetwork", body: `garbage`, status: 400, want: `the request is "garbage"` + noObject},
	{call: "NetworkDriver.DeleteNetwork", body: `{"NetworkID":"NET"} x`, status: 400, want: `the request is not JSON: invalid character 'x' after top-level value`},
	{call: "NetworkDriver.DeleteNetwork", body: `{"NetworkID":7}`, status: 400, want: `the request's NetworkID: want string, have number: …{"NetworkID":7`},
	{call: "NetworkDriver.DeleteNetwork", body: `null`, status: 400, want: `the request is "null"` + noObject},
	{call: "NetworkDriver.DeleteNetwork", body: `{"NetworkID":"` + strings.Repeat("a", 8<<20) + `"}`, status: 400, want: "the request is larger than 8388608 bytes"},
	{call: "NetworkDriver.Teleport", body: `{}`, status: 404, want: "unknown call /NetworkDriver.Teleport"},
}

// TestWrongInputs sends every wrong input and compares the exact error, and that it
// has changed neither the kernel nor the records.
func TestWrongInputs(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's own errors")
	}
	t.Parallel()
	w := world.New(t, world.Config{})
	w.Network("net", "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0")
	w.Idle("web", "--net", "net", "--ip", "172.18.0.2", "-p", "8080:80")
	w.Host.Start("guest", "serve", "tcp:9999")
	ids := strings.NewReplacer(
		"NET", w.Docker("network", "inspect", "-f", "{{.Id}}", "net"),
		"WEB", w.Docker("inspect", "-f", "{{.NetworkSettings.Networks.net.EndpointID}}", "web"))

	var major int
	if _, err := fmt.Sscanf(w.Docker("version", "-f", "{{.Server.Version}}"), "%d.", &major); err != nil {
		t.Fatal(err)
	}
	before := everything(t, w)
	for _, c := range wrongInputs {
		var have string
		if c.docker != "" {
			r := w.DockerTry(strings.Fields(c.docker)...)
			if r.Code == 0 {
				t.Errorf("docker %s: accepted", c.docker)
			}
			have = lastLine(withoutHelp(r.Err))
			if strings.HasPrefix(c.docker, "run ") {
				w.Docker("rm", "-f", "victim")
			}
		} else {
			var status int
			if status, have = call(t, w, c.call, ids.Replace(c.body)); status != c.status {
				t.Errorf("%s %.80s: status %d, want %d", c.call, c.body, status, c.status)
			}
		}
		if have, want := anonymous(have), c.expected(major >= 28); have != want {
			t.Errorf("docker %s%s %.80s:\nhave %s\nwant %s", c.docker, c.call, c.body, have, want)
		}
		// The kernel destroys a bridge behind the refusal.
		w.Eventually(5*time.Second, func() error {
			if after := everything(t, w); after != before {
				return fmt.Errorf("docker %s%s %.80s: has changed something:\n%s\nwas\n%s", c.docker, c.call, c.body, after, before)
			}
			return nil
		})
	}
}

// call sends one request to mybr's socket and returns the status and Err.
func call(t *testing.T, w *world.World, method, body string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", w.Path("/run/docker/plugins/mybr.sock"))
		}}}
	resp, err := client.Post("http://plugin/"+method, "", bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Err, Error string }
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s: %q: %v", method, text, err)
	}
	if answer.Err != answer.Error {
		t.Errorf("%s: Err %q, Error %q", method, answer.Err, answer.Error)
	}
	return resp.StatusCode, answer.Err
}

// withoutHelp takes off what the clients of all engines put behind an error of run.
func withoutHelp(s string) string {
	s = strings.TrimSpace(s)
	s = strings.TrimSuffix(s, "\nSee 'docker run --help'.")
	if before, ok := strings.CutSuffix(s, "\n\nRun 'docker run --help' for more information"); ok {
		s = before
	}
	if strings.HasPrefix(s, "docker: ") {
		s = strings.TrimSuffix(s, ".")
	}
	return s
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// anonymous replaces IDs, which differ from run to run.
func anonymous(s string) string {
	return regexp.MustCompile(`\b([0-9a-f]{64}|[0-9a-f]{12})\b`).ReplaceAllString(s, "<id>")
}

// everything is all that a refused input must leave alone: rules, links with their
// addresses, routes, listening sockets, settings and records.
func everything(t *testing.T, w *world.World) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, strings.Join(rules(w), "\n"))
	for _, l := range w.Host.Links() {
		fmt.Fprintln(&b, l.Name, l.Kind, l.Up, l.Master, l.MAC, l.MTU, slices.DeleteFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() }))
	}
	for _, r := range w.Host.Routes() {
		if r.Dst.Addr().Is4() {
			fmt.Fprintln(&b, r)
		}
	}
	fmt.Fprintln(&b, w.Host.Run("ss", "-Hlntu"))
	fmt.Fprintln(&b, w.Host.Run("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/all/route_localnet"))
	s := records(t, w)
	defer s.Close()
	err := s.View(func(tx *store.Tx) error {
		fmt.Fprintf(&b, "%+v\n%+v\n", tx.Networks(), tx.Pools())
		for _, e := range tx.Endpoints() {
			fmt.Fprintf(&b, "%+v\n", *e)
		}
		for _, p := range tx.Pools() {
			for l := range tx.Leases(p.ID, p.Prefix.Addr()) {
				fmt.Fprintf(&b, "%+v\n", l)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
