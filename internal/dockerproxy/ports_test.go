package dockerproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func places(list string) (at []netip.AddrPort) {
	for _, word := range strings.Fields(list) {
		at = append(at, netip.MustParseAddrPort(word))
	}
	return at
}

// The places of a port come in the order in which each engine publishes what was asked for.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		asked  string // HOSTIP@HOSTPORT…
		places string // as mybr has them
		tcp    string // up to 26
		udp    string // up to 26
		sorted string // from 27.0 on
	}{
		{"@8080", "0.0.0.0:8080 [::]:8080", "0.0.0.0:8080 [::]:8080", "0.0.0.0:8080 [::]:8080", "0.0.0.0:8080 [::]:8080"},
		{"@8087 @8089", "0.0.0.0:8087 0.0.0.0:8089 [::]:8087 [::]:8089",
			"0.0.0.0:8089 [::]:8089 0.0.0.0:8087 [::]:8087", "0.0.0.0:8089 [::]:8089 0.0.0.0:8087 [::]:8087",
			"0.0.0.0:8087 [::]:8087 0.0.0.0:8089 [::]:8089"},
		{"@8089 @8087", "0.0.0.0:8087 0.0.0.0:8089", "0.0.0.0:8087 0.0.0.0:8089", "0.0.0.0:8089 0.0.0.0:8087", "0.0.0.0:8087 0.0.0.0:8089"},
		{"@ @8120 127.0.0.1@", "0.0.0.0:8120 0.0.0.0:50001 [::]:8120 [::]:50001 127.0.0.1:50002",
			"127.0.0.1:50002 0.0.0.0:8120 [::]:8120 0.0.0.0:50001 [::]:50001",
			"0.0.0.0:8120 [::]:8120 0.0.0.0:50001 [::]:50001 127.0.0.1:50002",
			"0.0.0.0:8120 [::]:8120 0.0.0.0:50001 [::]:50001 127.0.0.1:50002"},
		{"@8110-8119 @8110", "0.0.0.0:8110 [::]:8110 0.0.0.0:8111 [::]:8111",
			"0.0.0.0:8110 [::]:8110 0.0.0.0:8111 [::]:8111", "0.0.0.0:8111 [::]:8111 0.0.0.0:8110 [::]:8110",
			"0.0.0.0:8110 [::]:8110 0.0.0.0:8111 [::]:8111"},
		{"127.0.0.1@8082 ::1@8082", "127.0.0.1:8082 [::1]:8082", "[::1]:8082 127.0.0.1:8082", "127.0.0.1:8082 [::1]:8082", "127.0.0.1:8082 [::1]:8082"},
		{"@8150", "192.0.2.2:8150", "192.0.2.2:8150", "192.0.2.2:8150", "192.0.2.2:8150"}, // the network's default address
		{"127.0.0.1@8080", "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:0"},            // routed
		// One family is routed, and the other is not.
		{"@8212", "0.0.0.0:8212 [::]:0", "0.0.0.0:8212 [::]:0", "0.0.0.0:8212 [::]:0", "0.0.0.0:8212 [::]:0"},
		{"@8212", "0.0.0.0:0 [::]:8212", "0.0.0.0:0 [::]:8212", "0.0.0.0:0 [::]:8212", "0.0.0.0:0 [::]:8212"},
		{"", "0.0.0.0:50003 [::]:0", "0.0.0.0:50003 [::]:0", "0.0.0.0:50003 [::]:0", "0.0.0.0:50003 [::]:0"},
		{"bad@80 @bad", "0.0.0.0:1", "0.0.0.0:1", "0.0.0.0:1", "0.0.0.0:1"},
		{"", "0.0.0.0:50003 [::]:50003", "0.0.0.0:50003 [::]:50003", "0.0.0.0:50003 [::]:50003", "0.0.0.0:50003 [::]:50003"}, // -P
		{"@", "", "", "", ""},
	} {
		var asked []wanted
		for _, word := range strings.Fields(c.asked) {
			ip, port, _ := strings.Cut(word, "@")
			asked = append(asked, wanted{ip, port})
		}
		for _, row := range []struct {
			proto  string
			sorted bool
			want   string
		}{{"tcp", false, c.tcp}, {"udp", false, c.udp}, {"tcp", true, c.sorted}, {"udp", true, c.sorted}} {
			at := places(c.places)
			slices.SortFunc(at, byNumber)
			if have := inOrder(at, requests(asked, row.proto, row.sorted)); !slices.Equal(have, places(row.want)) {
				t.Errorf("%q, %s, sorted %v: have %v, want %s", c.asked, row.proto, row.sorted, have, row.want)
			}
		}
	}
}

func TestSortsPorts(t *testing.T) {
	for server, want := range map[string]bool{
		"Docker/20.10.24+dfsg1 (linux)": false, "Docker/26.1.5 (linux)": false, "Docker/27.0.0 (linux)": true,
		"Docker/28.5.2 (linux)": true, "Docker/dev (linux)": true, "": true, "Other/1.0": true,
	} {
		if have := sortsPorts(server); have != want {
			t.Errorf("%q: %v", server, have)
		}
	}
}

// What other drivers have published stays, and nothing is shown twice.
func TestBesideOtherDrivers(t *testing.T) {
	ours := func() shown {
		s := shown{}
		s.expose("80/tcp")
		s.expose("81/tcp")
		s.expose("82/tcp")
		s.publish(port{80, "tcp"}, places("0.0.0.0:8080 [::]:8080")...)
		return s
	}
	for have, want := range map[string]string{
		`[]`: `[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":81,"Type":"tcp"},{"PrivatePort":82,"Type":"tcp"}]`,
		`[{"PrivatePort":80,"Type":"tcp"},{"PrivatePort":81,"Type":"tcp"},{"IP":"0.0.0.0","PrivatePort":82,"PublicPort":9,"Type":"tcp","New":1},{"PrivatePort":83,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}]`: `[{"IP":"0.0.0.0","PrivatePort":82,"PublicPort":9,"Type":"tcp","New":1},{"PrivatePort":83,"Type":"tcp"},` +
			`{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":81,"Type":"tcp"}]`,
	} {
		got, err := listPorts([]byte(have), ours())
		if err != nil || string(got) != want {
			t.Errorf("%s\nhave %s, %v\nwant %s", have, got, err, want)
		}
	}
	for have, want := range map[string]string{
		`null`: `{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}],"81/tcp":null,"82/tcp":null}`,
		`{"80/tcp":[{"HostIp":"::","HostPort":"8080"}],"82/tcp":[{"HostIp":"0.0.0.0","HostPort":"9"}],"83/udp":null}`: `{"80/tcp":[{"HostIp":"::","HostPort":"8080"},{"HostIp":"0.0.0.0","HostPort":"8080"}],"81/tcp":null,"82/tcp":[{"HostIp":"0.0.0.0","HostPort":"9"}],"83/udp":null}`,
	} {
		got, err := inspectPorts([]byte(have), ours())
		if err != nil || string(got) != want {
			t.Errorf("%s\nhave %s, %v\nwant %s", have, got, err, want)
		}
	}
}

// Whatever was asked for and published, each place is shown once.
func TestOrderKeepsPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := []string{"", "0.0.0.0", "::", "127.0.0.1", "192.0.2.2"}
		numbers := []string{"", "8000", "8001", "8000-8003", "8002-8009"}
		var asked []wanted
		for range rapid.IntRange(0, 5).Draw(t, "requests") {
			asked = append(asked, wanted{rapid.SampledFrom(hosts).Draw(t, "host"), rapid.SampledFrom(numbers).Draw(t, "number")})
		}
		var all []netip.AddrPort
		for range rapid.IntRange(0, 8).Draw(t, "places") {
			a := netip.MustParseAddr(rapid.SampledFrom(hosts[1:]).Draw(t, "address"))
			all = append(all, netip.AddrPortFrom(a, uint16(rapid.IntRange(7999, 8011).Draw(t, "port"))))
		}
		slices.SortFunc(all, byNumber)
		all = slices.Compact(all)
		have := inOrder(all, requests(asked, rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "proto"), rapid.Bool().Draw(t, "sorted")))
		slices.SortFunc(have, byNumber)
		if !slices.Equal(have, all) {
			t.Fatalf("have %v, want %v", have, all)
		}
	})
}

// All bytes of any text but the replaced ones stay.
func FuzzSpans(f *testing.F) {
	f.Add([]byte(aList))
	f.Add([]byte(anInspect))
	f.Add([]byte(`{"a" : [1 ,2, {"b":null}] , "a":"x" }`))
	f.Fuzz(func(t *testing.T, text []byte) {
		whole := span{0, len(text)}
		var parts []replacement
		found, err := elements(text, whole)
		if err != nil {
			var named map[string]span
			if named, err = members(text, whole); err != nil {
				return
			}
			for _, at := range named {
				found = append(found, at)
			}
		}
		rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		for _, at := range found {
			if !json.Valid(at.in(text)) {
				t.Fatalf("%q is no value of %q", at.in(text), text)
			}
			parts = append(parts, replacement{at, at.in(text)})
		}
		if have := replace(text, parts); string(have) != string(text) {
			t.Fatalf("have %q, want %q", have, text)
		}
	})
}

// A thousand containers, of which each publishes ten ports.
func BenchmarkList(b *testing.B) {
	var list strings.Builder
	endpoints := map[string]Endpoint{}
	p := New(Config{Warn: b.Logf})
	for i := range 1000 {
		id := fmt.Sprintf("e%d", i)
		endpoints[id] = ports(tcp("0.0.0.0:8000", "172.18.0.2:80", 10), tcp("[::]:8000", "172.18.0.2:80", 10))
		p.specs.put([]string{id}, &spec{})
		fmt.Fprintf(&list, `,{"Id":"c","Labels":{"text":%q},"Ports":[],"NetworkSettings":{"Networks":{"n":{"EndpointID":%q}}}}`, strings.Repeat("x", 1500), id)
	}
	text := []byte("[" + list.String()[1:] + "]")
	p.Published = func(context.Context) (map[string]Endpoint, error) { return endpoints, nil }
	a := &answer{Proxy: p, ctx: b.Context()}
	for b.Loop() {
		if _, err := a.list(text); err != nil {
			b.Fatal(err)
		}
	}
}
