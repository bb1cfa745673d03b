package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mybr/mybr/internal/view"
)

// What is as long as it can usually be fits a page: names are cut, addresses are not.
func TestTablesFitAPage(t *testing.T) {
	id := strings.Repeat("4f2a91c0", 8)
	name := strings.Repeat("a-long-name-", 6)
	v := view.View{
		Networks:  []view.Network{{ID: id, Name: name, Bridge: "br-4f2a91c04f2a", ICC: true}},
		Endpoints: []view.Endpoint{{ID: id, Network: id, Container: name, Bridge: "br-4f2a91c04f2a", Veth: "veth4f2a91c07b", MAC: "02:42:ac:12:00:02", Sandbox: "/s", IPv4: netip.MustParsePrefix("172.18.100.200/16"), IPv6: netip.MustParsePrefix("fd00:1234:5678:9abc::2222:2/64")}},
	}
	for i := range 3 {
		v.Ports = append(v.Ports, view.Port{Endpoint: id, Network: id, Name: name, Proto: "tcp", Host: netip.MustParseAddrPort(fmt.Sprintf("[::]:%d", 8080-i)),
			Container: netip.MustParseAddrPort("[fd00:18::2222:2]:80"), Count: 1, Carried: "process"})
	}
	var out bytes.Buffer
	for what, print := range map[string]func() error{
		"endpoints": func() error { return printEndpoints(&out, v.Endpoints, networkNames(v)) },
		"ports":     func() error { return printPorts(&out, v.Ports, networkNames(v)) },
	} {
		out.Reset()
		if err := print(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if utf8.RuneCountInString(strings.TrimRight(line, " \n")) > 100 {
				t.Errorf("%s: %q", what, line)
			}
		}
		if !strings.Contains(out.String(), "…") || !strings.Contains(out.String(), "a-long-name-") {
			t.Errorf("%s: no name is cut:\n%s", what, out.String())
		}
	}
	if ports := out.String(); strings.Contains(ports, "8080") && strings.Index(ports, ":8078") > strings.Index(ports, ":8080") {
		t.Errorf("not by port:\n%s", ports)
	}
}

// What is left of an IPv6 subnet is as good as all of it.
func TestAmount(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 65534: "65534", 1<<64 - 1: "2^64", 1<<64 - 5: "2^64", 1<<48 - 3: "2^48", 3 << 40: "3.3e+12",
	} {
		if have := amount(n); have != want {
			t.Errorf("%d: %s, want %s", n, have, want)
		}
	}
}
