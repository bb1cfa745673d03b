package plugin

import (
	"context"
	"io"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/internal/sysctl"
)

// failing is an applier that fails.
type failing[T any] struct{ err error }

func (f failing[T]) Plan(context.Context, *T, T) (plan.Plan, error) { return nil, f.err }

// What is noted of endpoints that went is dropped although another program has a host port,
// and kept while their flows can't be deleted.
func TestNotesOfEndedEndpoints(t *testing.T) {
	taken := model.Conflict("another program has the port")
	for name, c := range map[string]struct {
		flows plan.Planner[conntrack.Set]
		left  int
	}{
		"a port is taken": {idle[conntrack.Set]{}, 0},
		"flows fail":      {failing[conntrack.Set]{taken}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			records, err := store.Open(filepath.Join(t.TempDir(), "mybr.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer records.Close()
			for _, change := range []func(*store.Tx) error{
				func(tx *store.Tx) error {
					return tx.PutEndpoint(model.Endpoint{ID: "e", V4: netip.MustParsePrefix("10.1.0.2/24")})
				},
				func(tx *store.Tx) error { return tx.DeleteEndpoint("e") },
			} {
				if _, err := records.Update(change); err != nil {
					t.Fatal(err)
				}
			}
			log := logrus.New()
			log.SetOutput(io.Discard)
			h := &host{flows: &conntrack.Applier{}, reconciler: reconcile.New(reconcile.Config{
				Snapshot: records.Snapshot, Log: log,
				Aspects: reconcile.Appliers{
					Firewalld: idle[firewalld.Set]{}, Firewall: idle[firewall.Policy]{}, Links: idle[link.Set]{},
					Sysctls: idle[sysctl.Set]{}, Flows: c.flows, Ports: failing[hostport.Set]{taken},
				}.Aspects(records.Snapshot()),
			})}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { h.reconciler.Run(ctx); close(done) }()
			if err := h.forgetEnded(ctx, records); err != nil {
				t.Error(err)
			}
			if h.reconciler.LastError() == nil {
				t.Error("the pass did not fail")
			}
			cancel()
			<-done
			if ended, err := endedIn(records); err != nil || len(ended) != c.left {
				t.Errorf("have %v, %v: want %d", ended, err, c.left)
			}
		})
	}
}
