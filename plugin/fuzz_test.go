package plugin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/ipam"
)

// inCallOrder is the calls in an order in which each finds the records that it needs.
var inCallOrder = []string{
	"/IpamDriver.RequestPool", "/IpamDriver.RequestAddress", "/NetworkDriver.GwAllocCheck", "/NetworkDriver.CreateNetwork",
	"/NetworkDriver.CreateEndpoint", "/NetworkDriver.Join", "/NetworkDriver.ProgramExternalConnectivity",
	"/NetworkDriver.EndpointOperInfo", "/NetworkDriver.RevokeExternalConnectivity", "/NetworkDriver.Leave",
	"/NetworkDriver.DeleteEndpoint", "/NetworkDriver.DeleteNetwork", "/NetworkDriver.AllocateNetwork", "/NetworkDriver.FreeNetwork",
	"/NetworkDriver.DiscoverNew", "/NetworkDriver.DiscoverDelete", "/IpamDriver.ReleaseAddress", "/IpamDriver.ReleasePool",
}

func addSent(f *testing.F, add func(c sentCall)) {
	for _, c := range sent(f) {
		add(c)
	}
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `{"NetworkID":7}`, `{"NetworkID":""}`, `{"networkid":"a","NetworkID":"b"}`, "{\"NetworkID\":\"\xff\"}",
		`{"NetworkID":"a","IPv4Data":[null]}`, `{"NetworkID":"a","IPv4Data":[{"Pool":"0.0.0.0/0"}]}`, `{"AddressSpace":"mybr-local"}`,
	} {
		add(sentCall{"/NetworkDriver.CreateNetwork", body})
	}
}

// FuzzCalls sends any body to every call, in an order in which the records of one are there
// for the next.
func FuzzCalls(f *testing.F) {
	addSent(f, func(c sentCall) { f.Add([]byte(c.body)) })
	f.Fuzz(func(t *testing.T, body []byte) {
		h, records := recorder(t)
		for _, path := range inCallOrder {
			ask(t, h, records, path, body)
		}
	})
}

// FuzzCall sends any body to one call, where there are a network of both families, an endpoint
// that has published ports, and the pools and leases that they are from.
func FuzzCall(f *testing.F) {
	addSent(f, func(c sentCall) { f.Add(uint(max(0, slices.Index(inCallOrder, c.path))), []byte(c.body)) })
	lifecycle := sent(f)
	f.Fuzz(func(t *testing.T, call uint, body []byte) {
		h, records := recorder(t)
		begin(t, h, records, lifecycle)
		ask(t, h, records, inCallOrder[call%uint(len(inCallOrder))], body)
	})
}

// begin makes the calls that Docker was seen to make until a container runs.
func begin(t *testing.T, h *handler, records *store.Store, calls []sentCall) {
	t.Helper()
	for _, c := range calls {
		if strings.Contains(c.path, ".Request") || strings.Contains(c.body, "fd00:198:") || strings.Contains(c.body, "18080") {
			post(h, c.path, []byte(c.body))
		}
	}
	s := recorded(t, records)
	if len(s.Networks) != 1 || len(s.Endpoints) != 1 || s.Endpoints[0].Sandbox == "" || len(s.Endpoints[0].Ports) == 0 || len(s.Pools) < 3 || len(s.Pools[1].Leases) == 0 {
		t.Fatalf("there is %+v", s)
	}
}

// post makes a call.
func post(h *handler, path string, body []byte) (status int, answer []byte) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
	return w.Code, w.Body.Bytes()
}

// ask makes a call twice. Whatever is sent, the answer is JSON, an error is in the fields of
// both protocols and changes nothing, the second answer is as the first, and what is recorded
// can be brought about.
func ask(t *testing.T, h *handler, records *store.Store, path string, body []byte) {
	t.Helper()
	before := recorded(t, records)
	status, text := post(h, path, body)
	var answer struct{ Err, Error string }
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Errorf("%s: %v in %q", path, err, text)
	}
	if bad := status != http.StatusOK; bad != (answer.Err != "") || answer.Err != answer.Error {
		t.Errorf("%s: status %d, %s", path, status, text)
	}
	if strings.Contains(answer.Err, "crashed") || strings.ContainsFunc(answer.Err, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
		t.Errorf("%s: %s", path, text)
	}
	after := recorded(t, records)
	if status != http.StatusOK && !reflect.DeepEqual(before, after) {
		t.Errorf("%s: it failed (%s), but\n%+v became\n%+v", path, answer.Err, before, after)
	}
	again, second := post(h, path, body)
	// A pool or an address is asked for again to have another one.
	if asks := strings.HasPrefix(path, "/IpamDriver.Request"); (!asks || status != http.StatusOK) && (again != status || !bytes.Equal(text, second)) {
		t.Errorf("%s: %d %s at first, then %d %s", path, status, text, again, second)
	} else if !asks && !reflect.DeepEqual(after, recorded(t, records)) {
		t.Errorf("%s: the second time changed\n%+v to\n%+v", path, after, recorded(t, records))
	}
	checkRecords(t, records.Snapshot())
}

// checkRecords renders the records in ways that have little in common.
func checkRecords(t *testing.T, s model.Snapshot) {
	t.Helper()
	for _, o := range []reconcile.Options{{}, {NoIPv6: true}, {DirectRouting: true, FixedSettings: true, Accept: firewall.Mark{Value: 1, Mask: 1}}} {
		h := reconcile.Render(s, o)
		if err := h.Firewall.Validate(); err != nil {
			t.Errorf("of %+v: %v", s, err)
		}
		for _, b := range h.Links.Bridges {
			if !plainName(b.Name) || len(b.Alias) > 255 { // IFALIASZ is 256 (if.h)
				t.Errorf("bridge %+v", b)
			}
		}
		for _, v := range h.Links.Veths {
			if !plainName(v.Host) || !plainName(v.Peer) || v.Host == v.Peer || len(v.Alias) > 255 {
				t.Errorf("pair %+v", v)
			}
		}
	}
	for _, n := range s.Networks {
		if !plainName(n.IfacePrefix) || slices.ContainsFunc(n.Trusted, func(name string) bool { return !plainName(name) }) {
			t.Errorf("names of %+v", n)
		}
	}
}

// plainName reports whether a link's name means the same to every program.
func plainName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
	return s != "" && len(s) <= 15 && s[0] != '-' && strings.Trim(s, letters+"-") == ""
}

// FuzzSettings reads values of --accept-fwmark and --address-pool. What is taken is taken
// again as it is printed, and is something that can be brought about.
func FuzzSettings(f *testing.F) {
	for _, text := range []string{"", "1", "0x100/0xff00", "1/0", "256/255", "0x1ffffffff", "-1", "010/0b1", "1_0", "1/2/3",
		"base=10.64.0.0/10,size=24", "base=fd12:3456::/48,size=64", "base=::ffff:10.0.0.0/104,size=24", "size=24,base=0.0.0.0/0", "base=10.0.0.0/8,size=+9",
		"base=fe80::%eth0/64,size=64", "base=10.0.0.0/8,size=24,size=24", "base=10.0.0.0/8,base=10.0.0.0/8", "=,="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := ParseMark(text); err == nil {
			again, err := ParseMark(FormatMark(m))
			if err != nil || again != m || (firewall.Policy{Accept: m}).Validate() != nil {
				t.Errorf("%q is %+v, and that is %+v: %v", text, m, again, err)
			}
		}
		p, err := ParseAddressPool(text)
		if err != nil {
			return
		}
		if p.Base != p.Base.Masked() || p.Base.Addr().Is4In6() || p.Size < p.Base.Bits() || p.Size >= p.Base.Addr().BitLen() || model.CheckSubnet(netip.PrefixFrom(p.Base.Addr(), p.Size)) != nil {
			t.Errorf("%q is %+v", text, p)
		}
		h, records := recorder(t)
		i := ipam.New(ipam.Config{Store: pools{records}, Routes: nowhere{}, Pools: []AddressPool{p}})
		h.calls = routes(nil, i, func() {})
		v6 := "false"
		if p.Base.Addr().Is6() {
			v6 = "true"
		}
		status, answer := post(h, "/IpamDriver.RequestPool", []byte(`{"AddressSpace":"mybr-local","V6":`+v6+`}`))
		var got struct{ Pool netip.Prefix }
		if err := json.Unmarshal(answer, &got); err != nil || status != http.StatusOK || !p.Base.Contains(got.Pool.Addr()) || got.Pool.Bits() != p.Size {
			t.Errorf("%q gives %s: %v", text, answer, err)
		}
	})
}
