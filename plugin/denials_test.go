package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/egress/denied"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/metrics"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nflog"
	"github.com/mybr/mybr/internal/plan"
)

// spoken is a listener that hears what the test says.
type spoken struct {
	said   chan any // nflog.Packet or error
	closed chan struct{}
	once   sync.Once
}

func (s *spoken) Read(fn func(nflog.Packet)) error {
	select {
	case what := <-s.said:
		if err, ok := what.(error); ok {
			return err
		}
		fn(what.(nflog.Packet))
		return nil
	case <-s.closed:
		return os.ErrClosed
	}
}

func (s *spoken) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

// refusing is denials of two networks, and what its listener hears.
type refusing struct {
	*denials
	said    chan any
	opened  int
	fails   error // of what opens a listener
	text    bytes.Buffer
	records model.Snapshot
}

func newRefusing(t *testing.T) *refusing {
	pre := netip.MustParsePrefix
	r := &refusing{said: make(chan any), records: model.Snapshot{
		Networks: []model.Network{{ID: "n0", Bridge: "br0", EgressSet: "192.0.2.9", EgressModeSet: "audit"}, {ID: "n1", Bridge: "br1", Egress: "none"}},
		Endpoints: []*model.Endpoint{
			{ID: "e0", NetworkID: "n0", MAC: model.MAC{2, 0, 0, 0, 0, 1}, V4: pre("172.18.0.2/16"), V6: pre("fd00:18::2/64")},
			{ID: "e1", NetworkID: "n1", MAC: model.MAC{2, 0, 0, 0, 0, 2}, V4: pre("172.19.0.2/16")},
			{ID: "e2", NetworkID: "n0", MAC: model.MAC{2, 0, 0, 0, 0, 3}, V4: pre("172.18.0.3/16"), Egress: "192.0.2.8"},
		}}}
	log := logrus.New()
	log.SetOutput(&r.text)
	r.denials = newDenials(func() model.Snapshot { return r.records }, log)
	r.find.linkName = func(index int) (string, error) {
		if index > 2 {
			return "", unix.ENODEV
		}
		return []string{"eth0", "br0", "br1"}[index], nil
	}
	r.listen = func() (listener, error) {
		if r.opened++; r.fails != nil {
			return nil, r.fails
		}
		return &spoken{said: r.said, closed: make(chan struct{})}, nil
	}
	t.Cleanup(r.stop)
	return r
}

func packet(prefix string, link int, from, to string, proto uint8) nflog.Packet {
	return nflog.Packet{Prefix: prefix, Link: link, From: netip.MustParseAddrPort(from), To: netip.MustParseAddrPort(to), Proto: proto}
}

// A container that asks for a hundred thousand different names, which are refused, takes so much memory
// and so many lines of the log, and what others are refused is shown and logged.
func TestDenialsOfWhoNeverStops(t *testing.T) {
	r := newRefusing(t)
	const names = 100_000
	for i := range names {
		r.Seen(denied.Key{Network: "n0", Endpoint: "e0", Name: fmt.Sprintf("n%d.example.com", i), Protocol: "dns"}, false)
	}
	r.Seen(denied.Key{Network: "n1", Endpoint: "e1", Name: "other.example.com", Protocol: "dns"}, false)
	for i := range names {
		r.Seen(denied.Key{Network: "n0", Endpoint: "e0", Name: fmt.Sprintf("m%d.example.com", i), Protocol: "dns"}, false)
	}
	all, forgotten := r.log.Entries("")
	if len(all) != mostDenials || forgotten != 2*names+1-mostDenials {
		t.Errorf("%d entries, want %d; %d forgotten", len(all), mostDenials, forgotten)
	}
	if of, _ := r.log.Entries("n1"); len(of) != 1 || of[0].Name != "other.example.com" {
		t.Errorf("of the other one: %v", of)
	}
	if counted, _ := r.measured(); counted["n0"].Refused != 2*names || counted["n1"].Refused != 1 {
		t.Errorf("counted %v", counted)
	}
	text := r.text.String()
	if n := strings.Count(text, "endpoint=e0"); n != denialEach || strings.Count(text, "other.example.com") != 1 {
		t.Errorf("%d lines of the one, want %d:\n%s", n, denialEach, text)
	}
}

// Each packet is its endpoint's: by the bridge and the address, or else by its MAC.
func TestDenials(t *testing.T) {
	r := newRefusing(t)
	if r.want(false) || r.opened != 0 {
		t.Fatal("without lists somebody listens")
	}
	for range 2 {
		if r.want(true) {
			t.Fatal("a kernel that tells was taken for one that can't")
		}
	}
	if r.opened != 1 {
		t.Fatalf("somebody began to listen %d times", r.opened)
	}
	forged := packet(firewall.RefusedPrefix, 1, "172.18.0.99:9", "192.0.2.7:22", 6)
	forged.MAC = model.MAC{2, 0, 0, 0, 0, 1}
	for _, p := range []any{
		packet(firewall.RefusedPrefix, 1, "172.18.0.2:40000", "192.0.2.7:22", 6),
		packet(firewall.AuditPrefix, 1, "172.18.0.2:40001", "192.0.2.7:22", 6),
		packet(firewall.AuditPrefix, 1, "[fd00:18::2]:0", "[2001:db8::7]:0", 58),
		packet(firewall.RefusedPrefix, 2, "172.19.0.2:40000", "192.0.2.7:53", 17),
		nflog.ErrLost,
		packet(firewall.RefusedPrefix, 2, "172.18.0.2:40000", "192.0.2.7:0", 47), // that of the other network
		forged,
		packet("somebody's", 1, "172.18.0.2:40000", "192.0.2.7:22", 6),
		packet(firewall.RefusedPrefix, 0, "172.18.0.2:40000", "192.0.2.7:22", 6),
		packet(firewall.RefusedPrefix, 9, "172.18.0.2:40000", "192.0.2.7:22", 6),
	} {
		r.said <- p
	}
	r.want(false)
	<-r.ended
	var got []denied.Entry
	all, _ := r.log.Entries("")
	for _, e := range all {
		e.First, e.Last = time.Time{}, time.Time{}
		got = append(got, e)
	}
	to := netip.MustParseAddr("192.0.2.7")
	want := []denied.Entry{
		{Key: denied.Key{Network: "n0", Endpoint: "e0", Address: to, Port: 22, Protocol: "tcp"}, Count: 3, Let: 1},
		{Key: denied.Key{Network: "n0", Endpoint: "e0", Address: netip.MustParseAddr("2001:db8::7"), Protocol: "icmp"}, Count: 1, Let: 1},
		{Key: denied.Key{Network: "n1", Address: to, Protocol: "protocol 47"}, Count: 1},
		{Key: denied.Key{Network: "n1", Endpoint: "e1", Address: to, Port: 53, Protocol: "udp"}, Count: 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("have %+v\nwant %+v", got, want)
	}
	counted, lost := r.measured()
	if lost != 1 || !reflect.DeepEqual(counted, map[string]metrics.Denied{"n0": {Refused: 2, Let: 2}, "n1": {Refused: 2}}) {
		t.Errorf("counted %v, lost %d", counted, lost)
	}
	r.check(model.Snapshot{Networks: r.records.Networks[1:]})
	if left, _ := r.log.Entries(""); len(left) != 2 || left[0].Network != "n1" {
		t.Errorf("when a network has gone, there are left %+v", left)
	}
	if counted, _ := r.measured(); len(counted) != 1 {
		t.Errorf("and counted %v", counted)
	}
	text := r.text.String()
	for _, line := range []string{
		`msg="mybr.egress has refused this" count=1 endpoint=e0 network=n0 to="tcp 192.0.2.7:22"`,
		`msg="mybr.egress would refuse this if its mode were enforce" count=1 endpoint=e0 network=n0 to="icmp 2001:db8::7"`,
		`msg="mybr.egress has refused this" count=1 network=n1 to="protocol 47 192.0.2.7"`,
	} {
		if strings.Count(text, line) != 1 {
			t.Errorf("the log has not %s once:\n%s", line, text)
		}
	}
}

// What DNS has given an address for is told with it, and suggested in its place; of who is no container
// of the network's nothing was asked.
func TestDenialsOfAddressesThatDNSHasGiven(t *testing.T) {
	r := newRefusing(t)
	r.given = func(from, to netip.Addr) string {
		if from == netip.MustParseAddr("172.18.0.2") && to == netip.MustParseAddr("192.0.2.7") {
			return "git.example.com"
		}
		return ""
	}
	r.want(true)
	for _, p := range []nflog.Packet{
		packet(firewall.RefusedPrefix, 1, "172.18.0.2:40000", "192.0.2.7:22", 6),
		packet(firewall.RefusedPrefix, 1, "172.18.0.2:40000", "192.0.2.8:22", 6),
		packet(firewall.RefusedPrefix, 1, "172.18.0.3:40000", "192.0.2.7:22", 6),
		packet(firewall.RefusedPrefix, 2, "172.18.0.2:40000", "192.0.2.7:22", 6),
	} {
		r.said <- p
	}
	r.want(false)
	<-r.ended
	var got []string
	all, _ := r.log.Entries("")
	for _, e := range all {
		got = append(got, e.Endpoint+" "+e.String())
	}
	want := []string{"e0 tcp 192.0.2.8:22", `e0 tcp "git.example.com" 192.0.2.7:22`, "e2 tcp 192.0.2.7:22", " tcp 192.0.2.7:22"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("have %q, want %q", got, want)
	}
	d := &denier{denials: r.denials, snapshot: func() model.Snapshot { return r.records }}
	s, err := d.suggest(map[string][]string{"network": {"n0"}})
	if want := []string{"192.0.2.8:22/tcp", "git.example.com:22"}; err != nil || !reflect.DeepEqual(s.New, want) {
		t.Errorf("suggested are %q, %v, want %q", s.New, err, want)
	}
}

// An endpoint that has just gone is known still: packets are told of a moment after they came.
func TestDenialsOfWhoHasJustGone(t *testing.T) {
	r := newRefusing(t)
	p := packet(firewall.RefusedPrefix, 1, "172.18.0.2:40000", "192.0.2.7:22", 6)
	if n, e := r.find.whose(p); n != "n0" || e != "e0" {
		t.Fatal(n, e)
	}
	r.records.Endpoints = append([]*model.Endpoint{}, r.records.Endpoints[1:]...)
	if n, e := r.find.whose(p); n != "n0" || e != "e0" {
		t.Errorf("gone: %q %q", n, e)
	}
	r.records.Endpoints = append([]*model.Endpoint{{ID: "e9", NetworkID: "n0", V4: netip.MustParsePrefix("172.18.0.2/16")}}, r.records.Endpoints...)
	if n, e := r.find.whose(p); n != "n0" || e != "e9" {
		t.Errorf("another one with the address: %q %q", n, e)
	}
	r.records.Networks = nil
	if n, e := r.find.whose(p); n != "n0" || e != "e9" {
		t.Errorf("the network has just gone: %q %q", n, e)
	}
}

// What keeps mybr from listening is logged once, told, and tried again; where the kernel can't, the
// rules don't log.
func TestDenialsThatAreNotHeard(t *testing.T) {
	r := newRefusing(t)
	r.fails = unix.EPERM
	if r.want(true) {
		t.Error("a group that another program has is taken for one that there is not")
	}
	if err := r.unheard(); !errors.Is(err, unix.EPERM) {
		t.Errorf("unheard: %v", err)
	}
	r.mu.Lock()
	r.begin() // as again does
	r.fails = nil
	r.mu.Unlock()
	r.again()
	if err := r.unheard(); err != nil || r.open == nil {
		t.Errorf("unheard: %v", err)
	}
	if n := strings.Count(r.text.String(), "not heard of for now"); n != 1 {
		t.Errorf("told %d times:\n%s", n, &r.text)
	}
	r.said <- io.ErrUnexpectedEOF
	<-r.ended
	if err := r.unheard(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("unheard: %v", err)
	}

	r = newRefusing(t)
	r.fails = unix.EOPNOTSUPP
	for range 2 {
		if !r.want(true) {
			t.Error("a kernel that can't was taken for one that tells")
		}
	}
	if r.opened != 1 || r.unheard() == nil {
		t.Errorf("a kernel that can't was asked %d times: %v", r.opened, r.unheard())
	}
}

// A packet filter is told whether anybody can hear, before it logs.
func TestTelling(t *testing.T) {
	lists := []firewall.Egress{{Bridge: "br0", To: "none"}}
	for _, untold := range []bool{false, true} {
		var asked []bool
		f := telling{want: func(l bool) bool { asked = append(asked, l); return untold }, Backend: &explains{t: t, untold: untold}}
		f.Explain(firewall.Policy{Egress: lists})
		f.Explain(firewall.Policy{})
		have := firewall.Policy{}
		for _, h := range []*firewall.Policy{nil, &have} {
			if _, err := f.Plan(t.Context(), h, firewall.Policy{Egress: lists}); err != nil || have.Untold {
				t.Errorf("%v; what it was given is changed: %t", err, have.Untold)
			}
		}
		if !reflect.DeepEqual(asked, []bool{true, false, true, true}) {
			t.Errorf("asked %v", asked)
		}
	}
}

// explains is a packet filter that looks at what it is asked to explain.
type explains struct {
	firewall.Backend
	t      *testing.T
	untold bool
}

func (e *explains) Explain(p firewall.Policy) []firewall.ExplainedRule {
	if p.Untold != e.untold {
		e.t.Errorf("untold is %t, want %t", p.Untold, e.untold)
	}
	return nil
}

func (e *explains) Plan(_ context.Context, have *firewall.Policy, want firewall.Policy) (plan.Plan, error) {
	if want.Untold != e.untold || have != nil && have.Untold != e.untold {
		e.t.Errorf("untold is %t, want %t", want.Untold, e.untold)
	}
	return nil, nil
}

// A list is put together of what it has and what was seen, and told with what is left.
func TestSuggest(t *testing.T) {
	r := newRefusing(t)
	d := &denier{denials: r.denials, snapshot: func() model.Snapshot { return r.records }}
	see := func(endpoint, to, proto string) {
		k := denied.Key{Network: "n0", Endpoint: endpoint, Protocol: proto}
		if ap, err := netip.ParseAddrPort(to); err == nil {
			k.Address, k.Port = ap.Addr(), ap.Port()
		} else {
			k.Address = netip.MustParseAddr(to)
		}
		r.Seen(k, true)
	}
	see("e0", "192.0.2.7:22", "tcp")
	see("e0", "192.0.2.9:443", "tcp") // is in the list
	see("", "[2001:db8::7]:123", "udp")
	see("e0", "ff02::2", "icmp")
	see("e2", "192.0.2.10:80", "tcp") // has a list of its own
	for query, want := range map[string]Suggestion{
		"n0": {List: "192.0.2.7:22/tcp,192.0.2.9,192.0.2.9:443/tcp,[2001:db8::7]:123/udp",
			New: []string{"192.0.2.7:22/tcp", "192.0.2.9:443/tcp", "[2001:db8::7]:123/udp"}, Own: 1},
		"n0&endpoint=e2": {List: "192.0.2.8,192.0.2.10:80/tcp", New: []string{"192.0.2.10:80/tcp"}},
		"n1":             {List: "none", New: []string{}},
	} {
		id, endpoint, _ := strings.Cut(query, "&endpoint=")
		got, err := d.suggest(map[string][]string{"network": {id}, "endpoint": {endpoint}})
		left := len(got.Left)
		got.Left, want.Version = nil, 1
		if err != nil || !reflect.DeepEqual(got, want) || (left == 1) != (query == "n0") {
			t.Errorf("%s: %+v, %d left, %v, want %+v", query, got, left, err, want)
		}
	}
	for query, says := range map[string]string{"": "want the ID of a network", "nn": "network nn is unknown", "n0&endpoint=e1": "endpoint e1 is unknown on network n0"} {
		id, endpoint, _ := strings.Cut(query, "&endpoint=")
		if got, err := d.suggest(map[string][]string{"network": {id}, "endpoint": {endpoint}}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v %v", query, got, err)
		}
	}
	for i := range 1001 {
		see("e0", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), uint16(i+1000)).String(), "tcp")
	}
	if got, err := d.suggest(map[string][]string{"network": {"n0"}}); err == nil || !strings.Contains(err.Error(), "what was seen is too much for a list: there are more than 1000 entries") {
		t.Errorf("%d new: %v", len(got.New), err)
	}
}

// Who follows is told of what there is, and then of what changes.
func TestFollowDenied(t *testing.T) {
	a, stop := eventful(t)
	r := newRefusing(t)
	a.denier = &denier{denials: r.denials, snapshot: func() model.Snapshot { return r.records }}
	c := serveAdmin(t, a)
	key := denied.Key{Network: "n0", Endpoint: "e\x1b", Address: netip.MustParseAddr("192.0.2.7"), Port: 22, Protocol: "tcp"}
	other := key
	other.Network = "n1"
	r.Seen(key, false)
	r.Seen(other, true)
	all, err := c.Denied(t.Context(), "")
	if err != nil || all.Version != 1 || len(all.Denied) != 2 || all.Denied[0].Endpoint != `e\x1b` || all.Denied[1].Let != 1 {
		t.Errorf("%+v %v", all, err)
	}
	if one, err := c.Denied(t.Context(), "n1"); err != nil || len(one.Denied) != 1 || one.Denied[0].Network != "n1" {
		t.Errorf("%+v %v", one, err)
	}
	if _, err := c.Denied(t.Context(), "nn"); err == nil || !strings.Contains(err.Error(), "network nn is unknown") {
		t.Error(err)
	}
	got, done := make(chan Denial), make(chan error, 1)
	go func() { done <- c.FollowDenied(t.Context(), "n0", func(d Denial) error { got <- d; return nil }) }()
	for count := uint64(1); count <= 3; count++ {
		if d := wait(t, "an entry", got); d.Network != "n0" || d.Count != count || d.Version != 1 {
			t.Errorf("%+v, want count %d", d, count)
		}
		r.Seen(other, true) // is not asked for
		r.Seen(key, false)
	}
	go func() { // the last one need not be told
		for range got {
		}
	}()
	stop()
	if err := wait(t, "the end", done); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	close(got)
}
