package view

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// Everything of the records is told that operators can use.
func TestOf(t *testing.T) {
	ap, pre := netip.MustParseAddrPort, netip.MustParsePrefix
	web := model.PortBinding{Proto: model.TCP, Host: ap("0.0.0.0:8080"), Container: ap("172.18.0.2:80"), Count: 1}
	local := model.PortBinding{Proto: model.UDP, Host: ap("127.0.0.1:5300"), Container: ap("172.18.0.2:53"), Count: 10}
	sixToFour := model.PortBinding{Proto: model.TCP, Host: ap("[::]:8080"), Container: ap("172.18.0.2:80"), Count: 1}
	s := model.Snapshot{
		Networks: []model.Network{
			{ID: "a", Bridge: "br-a", Owned: true, MTU: 1400, ICC: true, Trusted: []string{"eth1"},
				Routes: []model.Route{{Destination: pre("10.1.0.0/16"), NextHop: netip.MustParseAddr("172.18.0.9")}, {Destination: pre("10.2.0.0/16")}},
				V4:     model.Subnet{Prefix: pre("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1"), Address: pre("172.18.0.1/16"), Masquerade: true},
				V6:     model.Subnet{Prefix: pre("fd00::/64"), Mode: model.ModeRouted}},
			{ID: "b", Bridge: "br-b", Internal: true, V4: model.Subnet{Prefix: pre("10.9.0.0/24"), Mode: model.ModeIsolated}},
		},
		Endpoints: []*model.Endpoint{
			{ID: "2", NetworkID: "a", MAC: model.MAC{2, 0, 0, 0, 0, 1}, V4: pre("172.18.0.2/16"), V6: pre("fd00::2/64"), Sandbox: "/run/ns/x",
				Added:   []model.PortBinding{{Proto: model.UDP, Host: ap("127.0.0.1:5301"), Container: ap("172.18.0.2:54"), Count: 2}, {Proto: model.TCP, Container: ap("[fd00::2]:81"), Count: 1}},
				Removed: []model.PortBinding{{Proto: model.TCP, Host: ap("0.0.0.0:9000"), Container: ap("172.18.0.2:90"), Count: 3}, {Proto: model.TCP, Container: ap("[fd00::2]:90"), Count: 1}},
				Ports:   []model.PortBinding{web, local, sixToFour}, OpenV6: []model.PortSpan{{Proto: model.TCP, First: 80, Count: 2}},
				OpenV4: []model.PortSpan{{Proto: model.TCP, First: 99, Count: 1}}}, // of a family that is not routed
			{ID: "1", NetworkID: "b", V4: pre("10.9.0.2/24")},
			{ID: "0", NetworkID: "gone", Ports: []model.PortBinding{web}},
		},
	}
	taken := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	have := Of(s, Facts{
		Taken: taken, Unknown: "a reason", Traffic: map[model.PortBinding]Traffic{web: {Connections: 7}},
		Pools: []Pool{{ID: "y", Space: "s", Prefix: pre("10.0.1.0/24")}, {ID: "x", Space: "s", Prefix: pre("10.0.0.0/24")}},
	})
	port := func(p Port) Port { p.Network, p.Bridge, p.Endpoint = "a", "br-a", "2"; return p }
	want := View{
		Version: 1, Taken: taken, Unknown: "a reason",
		Networks: []Network{
			{ID: "a", Bridge: "br-a", Owned: true, MTU: 1400, ICC: true, Trusted: []string{"eth1"}, Endpoints: 1,
				Routes: []string{"10.1.0.0/16 via 172.18.0.9", "10.2.0.0/16"},
				Subnets: []Subnet{
					{Family: "ipv4", Prefix: pre("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1"), Address: pre("172.18.0.1/16"), Mode: "nat", Masquerade: true},
					{Family: "ipv6", Prefix: pre("fd00::/64"), Mode: "routed"},
				}},
			{ID: "b", Bridge: "br-b", Internal: true, Endpoints: 1, Subnets: []Subnet{{Family: "ipv4", Prefix: pre("10.9.0.0/24"), Mode: "isolated"}}},
		},
		Endpoints: []Endpoint{
			{ID: "2", Network: "a", Bridge: "br-a", Veth: s.Endpoints[0].HostIface(), MAC: "02:00:00:00:00:01",
				IPv4: pre("172.18.0.2/16"), IPv6: pre("fd00::2/64"), Sandbox: "/run/ns/x",
				Removed: []string{"tcp 0.0.0.0:9000-9002 -> 172.18.0.2:90-92", "tcp [fd00::2]:90"}},
			{ID: "1", Network: "b", Bridge: "br-b", Veth: s.Endpoints[1].HostIface(), IPv4: pre("10.9.0.2/24")},
		},
		Ports: []Port{
			port(Port{Proto: "tcp", Container: ap("[fd00::2]:80"), Count: 2, Carried: Directly, Added: 1}),
			port(Port{Proto: "tcp", Host: web.Host, Container: web.Container, Count: 1, Carried: ByNAT, Traffic: &Traffic{Connections: 7}}),
			port(Port{Proto: "udp", Host: local.Host, Container: local.Container, Count: 10, Carried: ByProcess, Added: 2}),
			port(Port{Proto: "tcp", Host: sixToFour.Host, Container: sixToFour.Container, Count: 1, Carried: ByProcess}),
		},
		Lists: []List{},
		Pools: []Pool{{ID: "x", Space: "s", Prefix: pre("10.0.0.0/24")}, {ID: "y", Space: "s", Prefix: pre("10.0.1.0/24")}},
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have\n%+v\nwant\n%+v", have, want)
	}
	have.Networks[0].Trusted[0] = "changed"
	if s.Networks[0].Trusted[0] != "eth1" {
		t.Error("the view shares what the records hold")
	}
}

// Of nothing there are lists, and no null in JSON.
func TestOfNothing(t *testing.T) {
	text, err := json.Marshal(Of(model.Snapshot{}, Facts{}))
	if want := `{"version":1,"taken":"0001-01-01T00:00:00Z","networks":[],"endpoints":[],"ports":[],"pools":[],"lists":[]}`; err != nil || string(text) != want {
		t.Errorf("%s %v, want %s", text, err, want)
	}
}

// Escape reaches every string of the document.
func TestEscape(t *testing.T) {
	v := View{Networks: make([]Network, 1), Endpoints: make([]Endpoint, 1), Ports: make([]Port, 1), Pools: make([]Pool, 1)}
	v.Networks[0].Subnets, v.Networks[0].Routes, v.Networks[0].Trusted = make([]Subnet, 1), []string{""}, []string{""}
	strs := func() (n, marked int) {
		var walk func(v reflect.Value)
		walk = func(v reflect.Value) {
			switch v.Kind() {
			case reflect.String:
				n++
				marked += strings.Count(v.String(), "!")
			case reflect.Struct:
				for i := range v.NumField() {
					if v.Type().Field(i).IsExported() {
						walk(v.Field(i))
					}
				}
			case reflect.Slice:
				for i := range v.Len() {
					walk(v.Index(i))
				}
			}
		}
		walk(reflect.ValueOf(v))
		return n, marked
	}
	v.Escape(func(s string) string { return s + "!" })
	if n, marked := strs(); n != marked || n < 20 {
		t.Errorf("%d of %d strings", marked, n)
	}
	v.Unknown = "one\nother\x1b"
	v.Escape(model.Printable)
	if v.Unknown != "one\nother\\x1b" {
		t.Errorf("of lines: %q", v.Unknown)
	}
}

func TestName(t *testing.T) {
	v := View{Networks: []Network{{ID: "n"}, {ID: "m"}}, Endpoints: []Endpoint{{ID: "e"}, {ID: "f"}}, Ports: []Port{{Endpoint: "e"}}}
	v.Name(map[string]string{"e": "web", "x": "y"}, map[string]string{"n": "front"})
	if v.Networks[0].Name != "front" || v.Networks[1].Name != "" || v.Endpoints[0].Container != "web" || v.Endpoints[1].Container != "" || v.Ports[0].Name != "web" {
		t.Errorf("%+v", v)
	}
}

func TestNameRules(t *testing.T) {
	r := Rules{Rules: []Rule{{Network: "n", Endpoint: "e"}, {Network: "n"}, {Network: "m", Endpoint: "f"}, {}}}
	r.Name(map[string]string{"e": "web"}, map[string]string{"n": "front"})
	for i, want := range []string{"web", "front", "", ""} {
		if r.Rules[i].Name != want {
			t.Errorf("rule %d: %q, want %q", i, r.Rules[i].Name, want)
		}
	}
}
