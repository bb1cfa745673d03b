package model_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

func TestParseInterfaces(t *testing.T) {
	for text, want := range map[string]string{
		"eth1":                              "eth1",
		" wg0, eth1 ,eth1":                  "eth1,wg0",
		"all":                               "all",
		"br-lan,enp3s0.10":                  "br-lan,enp3s0.10",
		"abcdefghijklmno":                   "abcdefghijklmno",
		"":                                  " is no name of an interface: want 1 to 15 of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or all",
		"eth1,":                             " is no name of an interface: want 1 to 15 of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or all",
		"abcdefghijklmnop":                  "abcdefghijklmnop is no name of an interface: want 1 to 15 of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or all",
		"et/h1":                             "et/h1 is no name of an interface: want 1 to 15 of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or all",
		"eth 1":                             "eth 1 is no name of an interface: want 1 to 15 of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or all",
		"-i":                                "-i is no name of an interface: want 1 to 15 of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or all",
		"..":                                ".. is no name of an interface: want 1 to 15 of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or all",
		"eth+":                              "eth+ is a pattern: name each interface",
		"eth*":                              "eth* is a pattern: name each interface",
		"none":                              "none is no interface: mybr.publish.from=none closes ports",
		"eth1,all":                          "all stands alone, without the names of interfaces",
		"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q": "there are more than 16 interfaces",
	} {
		l, err := model.ParseInterfaces(text)
		got := l.String()
		if err != nil {
			got = err.Error()
			if !reflect.DeepEqual(l, model.Limit{}) {
				t.Errorf("%q: %v with the error %v", text, l, err)
			}
		} else if !l.ByInterface() {
			t.Errorf("%q is a limit of clients", text)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestInterfacesOfBoth(t *testing.T) {
	for _, c := range []struct{ a, b, want model.Interfaces }{
		{"", "", ""}, {"", "eth1", "eth1"}, {"eth1", "", "eth1"}, {"eth0,eth1", "eth1,wg0", "eth1"}, {"eth0", "eth1", "none"}, {"none", "eth1", "none"}, {"none", "", "none"},
	} {
		if got := c.a.And(c.b); got != c.want {
			t.Errorf("%q and %q: %q, want %q", c.a, c.b, got, c.want)
		}
	}
	for _, c := range []struct {
		of   model.Interfaces
		name string
		want bool
	}{{"", "eth0", true}, {"", "", true}, {"eth0,eth1", "eth1", true}, {"eth0", "eth", false}, {"eth0", "", false}, {"none", "none", false}} {
		if c.of.Has(c.name) != c.want {
			t.Errorf("%q has %q: %t", c.of, c.name, !c.want)
		}
	}
}

// Limits of both kinds are of one port without being the same; what is said of a port counts before
// what is said of all, and an endpoint's before its network's, of each kind for itself.
func TestAdmittedByInterface(t *testing.T) {
	ap := netip.MustParseAddrPort
	by := func(port uint16, names ...string) model.Limit { return model.Limit{Port: port, Via: names} }
	n := model.Network{ID: "n", V4: model.Subnet{Prefix: netip.MustParsePrefix("172.18.0.0/16")}}
	e := model.Endpoint{ID: "e", NetworkID: "n", Ports: []model.PortBinding{
		{Proto: model.TCP, Host: ap("0.0.0.0:8080"), Container: ap("172.18.0.2:80"), Count: 2},
		{Proto: model.TCP, Host: ap("0.0.0.0:9090"), Container: ap("172.18.0.2:80"), Count: 1},
	}}
	first, second := model.ContainerPort{Proto: model.TCP, At: ap("172.18.0.2:80")}, model.ContainerPort{Proto: model.TCP, At: ap("172.18.0.2:81")}
	for name, c := range map[string]struct {
		network, set, endpoint []model.Limit
		want                   map[model.ContainerPort]model.Admission
	}{
		"nothing": {nil, nil, nil, nil},
		"network": {[]model.Limit{by(0, "eth1")}, nil, nil, map[model.ContainerPort]model.Admission{first: {Via: "eth1"}, second: {Via: "eth1"}}},
		"both kinds": {[]model.Limit{{From: []string{"10.0.0.0/8"}}, by(8081, "eth1")}, nil, nil,
			map[model.ContainerPort]model.Admission{first: {From: "10.0.0.0/8"}, second: {From: "10.0.0.0/8", Via: "eth1"}}},
		"set since":      {[]model.Limit{by(0, "eth1")}, []model.Limit{by(0, "wg0")}, nil, map[model.ContainerPort]model.Admission{first: {Via: "wg0"}, second: {Via: "wg0"}}},
		"all since":      {[]model.Limit{by(0, "eth1")}, []model.Limit{by(0, "*")}, nil, map[model.ContainerPort]model.Admission{}},
		"endpoint":       {[]model.Limit{by(8081, "eth1")}, nil, []model.Limit{by(0, "wg0")}, map[model.ContainerPort]model.Admission{first: {Via: "wg0"}, second: {Via: "wg0"}}},
		"twice":          {[]model.Limit{by(8080, "eth0", "eth1"), by(9090, "eth1", "wg0")}, nil, nil, map[model.ContainerPort]model.Admission{first: {Via: "eth1"}}},
		"twice, apart":   {[]model.Limit{by(8080, "eth0"), by(9090, "eth1")}, nil, nil, map[model.ContainerPort]model.Admission{first: {Via: "none"}}},
		"one of clients": {[]model.Limit{by(0, "eth1")}, nil, []model.Limit{{}}, map[model.ContainerPort]model.Admission{first: {From: "none", Via: "eth1"}, second: {From: "none", Via: "eth1"}}},
	} {
		n, e := n, e
		n.From, n.FromSet, e.From = c.network, c.set, c.endpoint
		if got := (model.Lists{}).Admitted(n, e); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
