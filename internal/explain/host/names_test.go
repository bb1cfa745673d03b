package host

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/firewall"
	ipt "github.com/mybr/mybr/internal/firewall/iptables"
	nft "github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/model"
)

// What containers begin whose list has host names is predicted as it fares, with both backends: it
// is led to the process, passes by its address or by a grant, or is dropped.
func TestNames(t *testing.T) {
	for name, open := range map[string]func() (firewall.Backend, error){
		ipt.Name: func() (firewall.Backend, error) { return ipt.New(firewall.Config{}) },
		nft.Name: func() (firewall.Backend, error) { return nft.New(firewall.Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newField(t)
			b, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			addr := netip.MustParseAddr
			var p firewall.Policy
			for i := range 2 {
				v4, v6 := fmt.Sprintf("172.%d.0.0/16", 18+i), six(fmt.Sprintf("172.%d.0.0/16", 18+i))
				n := firewall.Network{ID: fmt.Sprint(i), Bridge: fmt.Sprint("br", i), ICC: true,
					V4: firewall.Family{Prefix: netip.MustParsePrefix(v4), Masquerade: true}, V6: firewall.Family{Prefix: netip.MustParsePrefix(v6).Masked(), Masquerade: true}}
				if i == 0 {
					n.Listed, n.Names, n.V4.Gateway, n.V6.Gateway = true, true, addr("172.18.0.1"), addr(six("172.18.0.1"))
				}
				p.Networks = append(p.Networks, n)
			}
			p.Egress = []firewall.Egress{{Bridge: "br0", Link: "br0", To: "172.19.0.2:82,host:81", Names: true, Carried: "80-81,443"}}
			p.Process = firewall.Process{DNS: 83, TCP: 84}
			for _, v6 := range []bool{false, true} {
				of := func(a string) netip.Addr {
					if v6 {
						a = six(a)
					}
					return addr(a)
				}
				p.Grants = append(p.Grants, firewall.Grant{Bridge: "br0", Link: "va", Addr: of("172.18.0.2"), To: of("192.0.2.2"), Proto: model.TCP, First: 81, Last: 81})
			}
			if err := b.Apply(t.Context(), nil, p); err != nil {
				t.Fatal(err)
			}
			for _, network := range []string{"tcp4", "tcp6"} {
				for _, port := range []int{83, 84} {
					f.hosts["host"].Echo(network, fmt.Sprintf("%s:%d", map[string]string{"tcp4": "0.0.0.0", "tcp6": "[::]"}[network], port))
				}
			}
			var shots []*shot
			for _, from := range []string{"a", "b", "c", "lan", "host"} {
				for _, to := range []string{"192.0.2.1", "192.0.2.2", "172.18.0.1", "172.18.0.3", "172.19.0.2"} {
					for _, port := range []uint16{53, 80, 81, 82, 84, 443} {
						shots = append(shots, &shot{from: from, to: netip.AddrPortFrom(addr(to), port)}, &shot{from: from, to: netip.AddrPortFrom(addr(six(to)), port)})
					}
				}
			}
			w, places, err := Read(f.places)
			if err != nil {
				t.Fatal(err)
			}
			led, read := 0, map[string]bool{}
			var results []explain.Result
			for _, s := range shots {
				r, err := Predict(t.Context(), w, places, explain.Query{From: s.from, Dst: s.to.Addr(), Proto: explain.TCP, Dport: s.to.Port()}, read)
				if err != nil {
					t.Fatal(err)
				}
				results = append(results, r)
			}
			f.fire(shots, usual)
			var again []*shot
			for i, s := range shots {
				if !s.is(results[i]) {
					again = append(again, s)
				}
			}
			f.fire(again, patient)
			for i, s := range shots {
				r := results[i]
				if r.Verdict == explain.Unknown || !s.is(r) {
					t.Errorf("%s → %s: predicted %s (%s; %s as %s), but it was %s, by %s as %s\n%s", s.from, s.to, r.Verdict, r.Reason, r.To, r.Client.Addr(), s.real, s.answer.Server, s.answer.Client, steps(r))
				} else if r.Verdict == explain.Delivered && r.To == "host" && s.to.Addr() != of(s.to, "192.0.2.1") && s.to.Addr() != of(s.to, "172.18.0.1") {
					led++
				}
			}
			if led == 0 {
				t.Error("nothing was led to the process")
			}
		})
	}
}

// of is an address in the family of another one.
func of(like netip.AddrPort, a string) netip.Addr {
	if like.Addr().Is6() {
		a = six(a)
	}
	return netip.MustParseAddr(a)
}
