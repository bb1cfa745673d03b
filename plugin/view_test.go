package plugin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/metrics"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/ipam"
)

// What is counted is read once a second, however many ask, and what can't be read is told
// beside the rest.
func TestViewCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := model.PortBinding{Proto: model.TCP, Host: netip.MustParseAddrPort("0.0.0.0:80"), Container: netip.MustParseAddrPort("10.0.0.2:80"), Count: 1}
		local := b
		local.Host = netip.MustParseAddrPort("127.0.0.1:81")
		s := model.Snapshot{
			Networks:  []model.Network{{ID: "n", Bridge: "br0"}},
			Endpoints: []*model.Endpoint{{ID: "e", NetworkID: "n", Ports: []model.PortBinding{b, local}}},
		}
		calls, failure := 0, error(nil)
		v := &viewer{
			busy: make(chan struct{}, 1), snapshot: func() model.Snapshot { return s },
			pools: func() ([]ipam.Usage, error) {
				return []ipam.Usage{{Pool: model.Pool{ID: "p", Space: "x"}, Size: 9, Used: 1, Resting: 2, Kept: 3, Free: 4}}, nil
			},
			count: func(_ context.Context, ports []firewall.Port) (map[model.PortBinding]firewall.Counter, error) {
				calls++
				if !slices.ContainsFunc(ports, func(p firewall.Port) bool { return p.PortBinding == b }) || len(ports) != 1 {
					t.Errorf("ports %+v", ports)
				}
				time.Sleep(100 * time.Millisecond)
				return map[model.PortBinding]firewall.Counter{b: {Connections: uint64(calls)}}, failure
			},
		}
		ask := func(want uint64, unknown string) {
			have, err := v.view(t.Context())
			if err != nil || have.Unknown != unknown || len(have.Ports) != 2 || have.Ports[0].Traffic == nil || have.Ports[0].Traffic.Connections != want || have.Ports[1].Traffic != nil {
				t.Errorf("%v %+v", err, have)
			}
			if p := have.Pools[0]; p.Size != 9 || p.Used != 1 || p.Rests != 2 || p.Kept != 3 || p.Free != 4 {
				t.Errorf("%+v", p)
			}
		}
		for range 10 {
			go ask(1, "")
		}
		synctest.Wait()
		ask(1, "")
		failure = errors.New("no lock")
		time.Sleep(countEvery)
		ask(2, "connections could not be counted: no lock")
		ask(2, "connections could not be counted: no lock")
		if calls != 2 {
			t.Errorf("read %d times", calls)
		}
	})
}

// A command that hangs leaves a scrape the rest.
func TestCountingHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestViewer(func() model.Snapshot { return model.Snapshot{Networks: []model.Network{{ID: "n"}}} })
		v.count = func(ctx context.Context, _ []firewall.Port) (map[model.PortBinding]firewall.Counter, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		ctx, cancel := context.WithTimeout(t.Context(), metrics.CollectWithin)
		defer cancel()
		begun := time.Now()
		have, err := v.view(ctx)
		if took := time.Since(begun); took >= metrics.CollectWithin {
			t.Errorf("it took %s", took)
		}
		if err != nil || len(have.Networks) != 1 || !strings.Contains(have.Unknown, "given up after") {
			t.Errorf("%v %+v", err, have)
		}
	})
}

// The path of the admin socket, and what a client is told when it has another version.
func TestViewIsAnswered(t *testing.T) {
	a := testAdmin(3)
	v := newTestViewer(a.snapshot)
	a.view = v.view
	s := serveAdmin(t, a)
	have, err := s.View(t.Context())
	if err != nil || len(have.Networks) != 1 || len(have.Ports) != 3 || have.Ports[0].Bridge != "br0" {
		t.Errorf("%v %+v", err, have)
	}
	v.pools = func() ([]ipam.Usage, error) { return nil, errors.New("bad \x1b[31mdisk") }
	if have, err = s.View(t.Context()); err != nil || have.Unknown != `bad \x1b[31mdisk` || strings.Contains(have.Unknown, "\x1b") {
		t.Errorf("%v %q", err, have.Unknown)
	}
}

// A command does not guess at what a newer mybr means.
func TestViewOfANewerMybr(t *testing.T) {
	a := testAdmin(0)
	a.view = func(context.Context) (view.View, error) { return view.View{Version: view.Version + 1}, nil }
	if _, err := serveAdmin(t, a).View(t.Context()); err == nil || !strings.Contains(err.Error(), "newer than this command: its view has version 2") {
		t.Error(err)
	}
}

// Nor at rules.
func TestRulesOfANewerMybr(t *testing.T) {
	s := serve(t, nil)
	dir := t.TempDir()
	s.socket = adminPath(dir)
	ln, err := listen(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.run(ln, newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, r, http.StatusOK, view.Rules{Version: view.Version + 1})
	}), s.handler.log))
	if _, err := (Client{RunDir: dir}).Rules(t.Context(), false); err == nil || !strings.Contains(err.Error(), "newer than this command: its rules have version 2") {
		t.Error(err)
	}
}

// newTestViewer has neither pools nor counters.
func newTestViewer(snapshot func() model.Snapshot) *viewer {
	return &viewer{
		busy: make(chan struct{}, 1), snapshot: snapshot,
		pools: func() ([]ipam.Usage, error) { return nil, nil },
		count: func(context.Context, []firewall.Port) (map[model.PortBinding]firewall.Counter, error) {
			return nil, nil
		},
	}
}

// serveAdmin serves an admin until the test ends, for the client that is returned.
func serveAdmin(t *testing.T, a *admin) Client {
	t.Helper()
	s := serve(t, nil)
	dir := t.TempDir()
	s.socket = adminPath(dir)
	ln, err := listen(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.run(ln, newServer(a.handler(), s.handler.log))
	return Client{RunDir: dir}
}
