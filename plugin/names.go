package plugin

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/egress/denied"
	"github.com/mybr/mybr/internal/egress/names"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
)

// resolvConf names the resolvers that are asked for containers whose lists have host names, as
// seen by this process: those of the host.
const resolvConf = "/etc/resolv.conf"

// What the ports are recorded for.
const (
	listeningDNS = "dns"
	listeningTCP = "names"
)

// newNames returns what serves containers whose lists have host names. h need not be whole yet.
func newNames(log *logrus.Logger, records *store.Store, h *host) (*byname.Server, error) {
	warn := rarely(log.Warnf)
	return byname.New(byname.Config{
		Resolvers: names.NewHost(resolvConf),
		Local:     h.links.Inward,
		Recorded: func() (p byname.Ports, err error) {
			err = records.View(func(tx *store.Tx) (err error) {
				if p.DNS, err = tx.Listening(listeningDNS); err == nil {
					p.TCP, err = tx.Listening(listeningTCP)
				}
				return err
			})
			return p, err
		},
		Record: func(p byname.Ports) error {
			_, err := records.Update(func(tx *store.Tx) error {
				if err := tx.SetListening(listeningDNS, p.DNS); err != nil {
					return err
				}
				return tx.SetListening(listeningTCP, p.TCP)
			})
			if err == nil {
				log.Infof("containers whose lists have host names are led to the ports %d (DNS) and %d of the host", p.DNS, p.TCP)
			}
			return err
		},
		Open: func(ctx context.Context, endpoint string, of []byname.Way, lasting time.Duration) error {
			ways := make([]reconcile.Way, len(of))
			for i, w := range of {
				ways[i] = reconcile.Way(w)
			}
			return h.reconciler.Open(ctx, endpoint, ways, lasting)
		},
		Seen: func(k denied.Key, let bool) { h.denials.Seen(k, let) },
		Failed: func(name string, err error) {
			warn("a listed host could not be reached for a container: %s: %s", name, printableError(err))
		},
		Lost: func(err error) {
			log.Warnf("containers reach no host names until it is listened for them again: %v", err)
			h.reconciler.Invalidate("mybr, whose socket for containers with host names failed", reconcile.FirewallAspect)
		},
	})
}

// process is reconcile.Config.Process.
func (h *host) process(want byname.Set, decide bool) (byname.Ports, error) {
	if !decide {
		return h.names.Ports(), nil
	}
	return h.names.Follow(want)
}
