package driver

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// What Docker Engine was seen to send. The IDs are made whole, "foo" and "aa" are the
// user's own options.
const (
	sentCreateNetwork = `{"NetworkID":"8b2e000000000000000000000000000000000000000000000000000000000f95","Options":{"com.docker.network.enable_ipv6":false,
  "com.docker.network.generic":{"com.docker.network.bridge.enable_icc":"false","com.docker.network.bridge.name":"xyz","com.docker.network.driver.mtu":"1400","foo":"bar"}},
 "IPv4Data":[{"AddressSpace":"LocalDefault","AuxAddresses":{"DefaultGatewayIPv4":"10.198.1.9/24","foo":"10.198.1.5/24"},"Gateway":"10.198.1.1/24","Pool":"10.198.1.0/24"}],"IPv6Data":[]}`

	sentCreateEndpoint = `{"NetworkID":"8b2e000000000000000000000000000000000000000000000000000000000f95","EndpointID":"51f6000000000000000000000000000000000000000000000000000000000000","Interface":{"Address":"10.198.1.77/24","AddressIPv6":"","MacAddress":"02:42:0a:c6:01:4d"},
 "Options":{"aa":"bb","com.docker.network.endpoint.dnsservers":["9.9.9.9"],
  "com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80},{"Proto":17,"Port":81},{"Proto":6,"Port":82},{"Proto":6,"Port":90}],
  "com.docker.network.endpoint.ifname":"foo0","com.docker.network.endpoint.macaddress":"AkIKxgFN","com.docker.network.endpoint.sysctls":"net.ipv4.conf.ifname.log_martians=1",
  "com.docker.network.portmap":` + sentPortMap + `}}`

	sentPortMap = `[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":18080,"HostPortEnd":18080},
    {"Proto":17,"IP":"","Port":81,"HostIP":"127.0.0.1","HostPort":18081,"HostPortEnd":18081},
    {"Proto":6,"IP":"","Port":82,"HostIP":"","HostPort":0,"HostPortEnd":0},
    {"Proto":6,"IP":"","Port":90,"HostIP":"","HostPort":19000,"HostPortEnd":19002}]`

	sentIDs = `{"NetworkID":"8b2e000000000000000000000000000000000000000000000000000000000f95","EndpointID":"51f6000000000000000000000000000000000000000000000000000000000000"`

	sentJoin     = sentIDs + `,"SandboxKey":"/var/run/docker/netns/5f4f711ce5c2","Options":{"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],"com.docker.network.portmap":` + sentPortMap + `}}`
	sentPEC      = sentIDs + `,"Options":{"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],"com.docker.network.driver.private.no_proxy_6to4":true,"com.docker.network.portmap":` + sentPortMap + `}}`
	sentDiscover = `{"DiscoveryType":1,"DiscoveryData":{"Address":"192.0.2.10","BindAddress":"192.0.2.10","Self":true}}`
)

func TestWhatDockerSends(t *testing.T) {
	w := newWorld(t)
	err := w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, sentCreateNetwork))
	wantErr(t, err, model.ErrInvalid, "create network 8b2e00000000: option foo is not known")

	r := decode[network.CreateNetworkRequest](t, strings.Replace(sentCreateNetwork, `,"foo":"bar"}`, `}`, 1))
	must(t, w.CreateNetwork(ctx, r))
	n := w.networkRecord(r.NetworkID)
	checkRandomMAC(t, n.BridgeMAC)
	n.BridgeMAC = model.MAC{}
	if want := (model.Network{
		ID: r.NetworkID, Bridge: "xyz", Owned: true, MTU: 1400, IfacePrefix: "eth",
		V4: model.Subnet{
			Prefix: netip.MustParsePrefix("10.198.1.0/24"), Gateway: netip.MustParseAddr("10.198.1.9"),
			Address: netip.MustParsePrefix("10.198.1.1/24"), Masquerade: true, Space: "LocalDefault",
		},
	}); !reflect.DeepEqual(n, want) {
		t.Errorf("have %+v\nwant %+v", n, want)
	}

	_, err = w.CreateEndpoint(ctx, decode[network.CreateEndpointRequest](t, sentCreateEndpoint))
	wantErr(t, err, model.ErrInvalid, "create endpoint 51f600000000: option aa is not known")
	noAA := strings.Replace(sentCreateEndpoint, `"aa":"bb",`, ``, 1)
	_, err = w.CreateEndpoint(ctx, decode[network.CreateEndpointRequest](t, noAA))
	wantErr(t, err, model.ErrInvalid, "create endpoint 51f600000000: option com.docker.network.endpoint.ifname: Docker does not let a plugin name the interface; "+
		"set the beginning of its name for the network, with -o com.docker.network.container_iface_prefix")
	e := decode[network.CreateEndpointRequest](t, strings.Replace(noAA, `"com.docker.network.endpoint.ifname":"foo0",`, ``, 1))
	res, err := w.CreateEndpoint(ctx, e)
	must(t, err)
	if text, _ := json.Marshal(res); string(text) != `{"Interface":null}` {
		t.Errorf("CreateEndpoint answered %s: it may say only what was left open", text)
	}

	joined, err := w.Join(ctx, decode[network.JoinRequest](t, sentJoin))
	must(t, err)
	text, _ := json.Marshal(joined)
	if want := `{"InterfaceName":{"SrcName":"veth51f6000000c","DstPrefix":"eth"},"Gateway":"10.198.1.9","GatewayIPv6":"","StaticRoutes":null,"DisableGatewayService":false}`; string(text) != want {
		t.Errorf("have %s\nwant %s", text, want)
	}

	must(t, w.ProgramExternalConnectivity(ctx, decode[network.ProgramExternalConnectivityRequest](t, sentPEC)))
	c := netip.MustParseAddr("10.198.1.77")
	port := func(proto model.Proto, host string, hostPort, containerPort uint16) model.PortBinding {
		return model.PortBinding{Proto: proto, Host: netip.AddrPortFrom(netip.MustParseAddr(host), hostPort), Container: netip.AddrPortFrom(c, containerPort), Count: 1}
	}
	have := w.endpointRecord(e.EndpointID)
	if want := (model.Endpoint{
		ID: e.EndpointID, NetworkID: r.NetworkID, MAC: model.MAC{0x02, 0x42, 0x0a, 0xc6, 0x01, 0x4d}, MACGiven: true,
		V4: netip.MustParsePrefix("10.198.1.77/24"), Sandbox: "/var/run/docker/netns/5f4f711ce5c2",
		Ports: []model.PortBinding{
			port(model.TCP, "0.0.0.0", 18080, 80), port(model.TCP, "0.0.0.0", 19000, 90), port(model.TCP, "0.0.0.0", 32768, 82),
			port(model.UDP, "127.0.0.1", 18081, 81),
		},
	}); !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
	info, err := w.EndpointOperInfo(ctx, decode[network.InfoRequest](t, sentIDs+"}"))
	must(t, err)
	text, _ = json.Marshal(info)
	if want := `{"Value":{"MacAddress":"02:42:0a:c6:01:4d","com.docker.network.portmap":[` +
		`{"Proto":6,"IP":"10.198.1.77","Port":80,"HostIP":"0.0.0.0","HostPort":18080,"HostPortEnd":18080},` +
		`{"Proto":6,"IP":"10.198.1.77","Port":90,"HostIP":"0.0.0.0","HostPort":19000,"HostPortEnd":19000},` +
		`{"Proto":6,"IP":"10.198.1.77","Port":82,"HostIP":"0.0.0.0","HostPort":32768,"HostPortEnd":32768},` +
		`{"Proto":17,"IP":"10.198.1.77","Port":81,"HostIP":"127.0.0.1","HostPort":18081,"HostPortEnd":18081}]}}`; string(text) != want {
		t.Errorf("have %s\nwant %s", text, want)
	}

	must(t, w.DiscoverNew(ctx, decode[network.DiscoveryNotification](t, sentDiscover)))
	must(t, w.RevokeExternalConnectivity(ctx, decode[network.RevokeExternalConnectivityRequest](t, sentIDs+"}")))
	if p := w.endpointRecord(e.EndpointID).Ports; p != nil {
		t.Errorf("after Revoke it has ports %v", p)
	}
	must(t, w.Leave(ctx, decode[network.LeaveRequest](t, sentIDs+"}")))
	if s := w.endpointRecord(e.EndpointID).Sandbox; s != "" {
		t.Errorf("after Leave its sandbox is %s", s)
	}
	must(t, w.DeleteEndpoint(ctx, decode[network.DeleteEndpointRequest](t, sentIDs+"}")))
	must(t, w.DeleteNetwork(ctx, decode[network.DeleteNetworkRequest](t, sentIDs+"}")))
	if s := w.store.Snapshot(); len(s.Networks)+len(s.Endpoints) != 0 {
		t.Errorf("left over: %+v", s)
	}
}

// engine is what one version of Docker Engine sends for a dual-stack network and a
// container that publishes a port of it: what differs from version to version.
type engine struct {
	version string
	flags   string // of the network, beside what the user gave
	join    string // options of the sandbox
	pec     string // what stands before the port map
}

var engines = []engine{
	{"20.10", `"com.docker.network.enable_ipv6":true`, `"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80},{"Proto":6,"Port":90}],`, ``},
	{"26.1", `"com.docker.network.enable_ipv6":true`, `"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],`, ``},
	{"28.5", `"com.docker.network.enable_ipv4":true,"com.docker.network.enable_ipv6":true`, `"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],`,
		`"com.docker.network.driver.private.no_proxy_6to4":false,`},
	{"29", `"com.docker.network.enable_ipv4":true,"com.docker.network.enable_ipv6":true`, `"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],`, ``},
}

const (
	sentDual = `{"NetworkID":"8b2e000000000000000000000000000000000000000000000000000000000f95","Options":{FLAGS,"com.docker.network.generic":{"com.docker.network.bridge.gateway_mode_ipv6":"routed"}},
 "IPv4Data":[{"AddressSpace":"LocalDefault","AuxAddresses":{},"Gateway":"10.198.1.1/24","Pool":"10.198.1.0/24"}],
 "IPv6Data":[{"AddressSpace":"LocalDefault","AuxAddresses":{"DefaultGatewayIPv6":"fd00:198::9/64"},"Gateway":"fd00:198::1/64","Pool":"fd00:198::/64"}]}`
	sentDualEndpoint = sentIDs + `,"Interface":{"Address":"10.198.1.2/24","AddressIPv6":"fd00:198::2/64","MacAddress":""},"Options":{JOIN"com.docker.network.portmap":` + sentOnePort + `}}`
	sentOnePort      = `[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":18080,"HostPortEnd":18080}]`
	sentDualJoin     = sentIDs + `,"SandboxKey":"/var/run/docker/netns/5f4f711ce5c2","Options":{JOIN"com.docker.network.portmap":` + sentOnePort + `}}`
	sentDualPEC      = sentIDs + `,"Options":{PEC"com.docker.network.portmap":` + sentOnePort + `}}`
)

func TestWhatEachEngineSends(t *testing.T) {
	for _, v := range engines {
		t.Run(v.version, func(t *testing.T) {
			w := newWorld(t)
			w.ports.hasIPv6 = true
			fill := strings.NewReplacer("FLAGS", v.flags, "JOIN", v.join, "PEC", v.pec)
			if strings.Contains(v.flags, "enable_ipv4") { // these ask for gateways first
				res, err := w.GwAllocCheck(ctx, decode[GwAllocCheckRequest](t, fill.Replace(sentDual)))
				must(t, err)
				if res.SkipIPv4 || res.SkipIPv6 {
					t.Errorf("have %+v", *res)
				}
			}
			must(t, w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, fill.Replace(sentDual))))
			e := decode[network.CreateEndpointRequest](t, fill.Replace(sentDualEndpoint))
			made, err := w.CreateEndpoint(ctx, e)
			must(t, err)
			if made.Interface.Address != "" || made.Interface.AddressIPv6 != "" || made.Interface.MacAddress == "" {
				t.Errorf("CreateEndpoint answered %+v", *made.Interface)
			}
			joined, err := w.Join(ctx, decode[network.JoinRequest](t, fill.Replace(sentDualJoin)))
			must(t, err)
			text, _ := json.Marshal(joined)
			if want := `{"InterfaceName":{"SrcName":"veth51f6000000c","DstPrefix":"eth"},"Gateway":"10.198.1.1","GatewayIPv6":"fd00:198::9","StaticRoutes":null,"DisableGatewayService":false}`; string(text) != want {
				t.Errorf("have %s\nwant %s", text, want)
			}
			must(t, w.ProgramExternalConnectivity(ctx, decode[network.ProgramExternalConnectivityRequest](t, fill.Replace(sentDualPEC))))
			w.wantPublished(e.EndpointID, "tcp 0.0.0.0:18080 -> 10.198.1.2:80")
			if have, want := w.endpointRecord(e.EndpointID).OpenV6, []model.PortSpan{{Proto: model.TCP, First: 80, Count: 1}}; !reflect.DeepEqual(have, want) {
				t.Errorf("open are %v, want %v", have, want)
			}
		})
	}
}

func TestLeaveAndDeleteEndpointUndoEverything(t *testing.T) {
	w := newWorld(t)
	w.running()
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	if e := w.endpointRecord(ep1); e.Sandbox != "" || e.Ports != nil {
		t.Errorf("after Leave: %+v", e)
	}
	must(t, w.join(netA, ep1))
	must(t, w.pec(netA, ep1, port8080))
	must(t, w.DeleteEndpoint(ctx, &network.DeleteEndpointRequest{NetworkID: netA, EndpointID: ep1}))
	if s := w.store.Snapshot(); len(s.Endpoints) != 0 {
		t.Errorf("after DeleteEndpoint: %+v", s.Endpoints)
	}
}

func checkRandomMAC(t *testing.T, m model.MAC) {
	t.Helper()
	if m[0]&3 != 2 {
		t.Errorf("%s is not a locally administered unicast address", m)
	}
}
