package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/egress/denied"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/metrics"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nflog"
	"github.com/mybr/mybr/internal/plan"
)

// What is remembered of what egress lists refuse, and how often the log tells of it.
const (
	mostDenials = 4096 // entries of some 300 bytes
	denialEvery = 10 * time.Minute
	denialBurst = 20
	denialEach  = 5 // of denialBurst, of one container
	denialPause = 30 * time.Second
	denialAgain = time.Second // is how soon it is listened again after an error
)

// denials hears of what egress lists refuse, or would refuse, and remembers it. While there are no
// lists nothing is held, and nothing runs.
type denials struct {
	log  *denied.Log
	text *logrus.Logger
	find *finder

	listen func() (listener, error)
	given  func(from, to netip.Addr) string // the name that DNS has given an address for, or ""

	mu      sync.Mutex
	wanted  bool
	open    listener // nil: nobody listens
	ended   chan struct{}
	lacks   error // why the kernel can't tell; nil: it can, or was not asked yet
	failed  error // why it does not now
	lost    uint64
	counted map[string]metrics.Denied // by network
}

// listener is a nflog.Listener.
type listener interface {
	Read(func(nflog.Packet)) error
	Close() error
}

func newDenials(snapshot func() model.Snapshot, log *logrus.Logger) *denials {
	d := &denials{
		text: log, find: &finder{snapshot: snapshot, linkName: nflog.LinkName}, counted: map[string]metrics.Denied{},
		given: func(netip.Addr, netip.Addr) string { return "" },
		listen: func() (listener, error) {
			l, err := nflog.Listen(firewall.RefusedGroup, firewall.RefusedBytes)
			if err != nil {
				return nil, err
			}
			return l, nil
		},
	}
	var err error
	d.log, err = denied.New(denied.Config{Most: mostDenials, Every: denialEvery, Burst: denialBurst, Each: denialEach, Pause: denialPause, Now: time.Now, Tell: d.tell})
	if err != nil {
		panic(err) // all of it is given
	}
	return d
}

// want says whether there are lists, and returns whether the kernel can't tell of what they refuse.
// Somebody listens before the first rule logs.
func (d *denials) want(lists bool) (untold bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = lists
	switch {
	case lists && d.open == nil && d.lacks == nil && d.failed == nil:
		d.begin()
	case !lists:
		if d.open != nil {
			d.end()
		}
		d.failed = nil
	}
	return d.lacks != nil
}

// again listens if it should, and something has kept it from that.
func (d *denials) again() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wanted && d.open == nil && d.lacks == nil {
		d.begin()
	}
}

// begin listens. The caller holds d.mu, and nobody listens.
func (d *denials) begin() {
	l, err := d.listen()
	switch was := d.failed; {
	case err == nil:
		d.failed = nil
		d.open, d.ended = l, make(chan struct{})
		go d.read(l, d.ended)
	case nflog.Lacking(err):
		d.lacks = fmt.Errorf("the kernel can't tell of packets (CONFIG_NETFILTER_NETLINK_LOG): %w", err)
		d.text.Warnf("what egress lists refuse is not told of on this host: %v", d.lacks)
	default:
		if d.failed = err; was == nil || was.Error() != err.Error() {
			d.text.WithError(err).Warn("what egress lists refuse is not heard of for now")
		}
		time.AfterFunc(denialAgain, d.again)
	}
}

// end stops listening. The caller holds d.mu.
func (d *denials) end() {
	if err := d.open.Close(); err != nil {
		d.text.WithError(err).Warn("who has heard of what egress lists refuse could not be ended")
	}
	d.open = nil
}

// stop ends everything, and waits for it.
func (d *denials) stop() {
	d.want(false)
	d.mu.Lock()
	ended := d.ended
	d.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// read reads until the listener is closed, or fails.
func (d *denials) read(l listener, ended chan struct{}) {
	defer close(ended)
	for {
		err := l.Read(d.packet)
		switch {
		case err == nil:
			continue
		case errors.Is(err, nflog.ErrLost):
			d.mu.Lock()
			d.lost++
			d.mu.Unlock()
			continue
		case errors.Is(err, os.ErrClosed):
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.open == l {
			d.end()
			d.failed = err
			d.text.WithError(err).Warn("what egress lists refuse is not heard of for now")
			time.AfterFunc(denialAgain, d.again)
		}
		return
	}
}

// packet takes one that rules have told of. Others may log to the group, too: what is not of a
// network of mybr's is none of it.
func (d *denials) packet(p nflog.Packet) {
	let := p.Prefix == firewall.AuditPrefix
	if !let && p.Prefix != firewall.RefusedPrefix {
		return
	}
	network, endpoint := d.find.whose(p)
	if network == "" {
		return
	}
	to := p.To
	if !p.Flow {
		to = d.find.asked(p)
	}
	k := denied.Key{Network: network, Endpoint: endpoint, Address: to.Addr(), Port: to.Port(), Protocol: protocolName(p.Proto)}
	if endpoint != "" {
		k.Name = d.given(p.From.Addr(), to.Addr())
	}
	d.Seen(k, let)
}

// protocolName is that of an IP protocol, as the options of lists have it.
func protocolName(number uint8) string {
	const icmp, icmpv6 = 1, 58 // IANA
	if number == icmp || number == icmpv6 {
		return "icmp"
	}
	return model.Proto(number).String()
}

// Seen counts something that a list has refused, or would have (let). It may be called from any
// goroutine; with a name by who decides about names.
func (d *denials) Seen(k denied.Key, let bool) {
	d.mu.Lock()
	c := d.counted[k.Network]
	if let {
		c.Let++
	} else {
		c.Refused++
	}
	d.counted[k.Network] = c
	d.mu.Unlock()
	d.log.Seen(k, let)
}

// tell has a line in the log.
func (d *denials) tell(l denied.Line) {
	fields := logrus.Fields{"network": l.Network, "to": l.String(), "count": l.Since}
	if l.Endpoint != "" {
		fields["endpoint"] = l.Endpoint
	}
	if l.Silent > 0 {
		fields["untold"] = l.Silent
	}
	if l.Let == l.Count {
		d.text.WithFields(fields).Info("mybr.egress would refuse this if its mode were enforce")
		return
	}
	d.text.WithFields(fields).Info("mybr.egress has refused this")
}

// check forgets what is about networks that are gone.
func (d *denials) check(s model.Snapshot) {
	there := map[string]bool{}
	for _, n := range s.Networks {
		there[n.ID] = true
	}
	d.log.Forget(func(network string) bool { return !there[network] })
	d.mu.Lock()
	for network := range d.counted {
		if !there[network] {
			delete(d.counted, network)
		}
	}
	d.mu.Unlock()
}

// measured is what was counted of each network, and how often packets were lost.
func (d *denials) measured() (all map[string]metrics.Denied, lost uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all = make(map[string]metrics.Denied, len(d.counted))
	for network, c := range d.counted {
		all[network] = c
	}
	return all, d.lost
}

// unheard says why nothing is heard now; nil: it is, or there are no lists.
func (d *denials) unheard() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.wanted {
		return nil
	}
	return errors.Join(d.lacks, d.failed)
}

// telling is a packet filter that tells of what egress lists refuse, with somebody who listens.
type telling struct {
	firewall.Backend
	want func(lists bool) (untold bool)
}

// Plan is the Backend's.
func (t telling) Plan(ctx context.Context, have *firewall.Policy, want firewall.Policy) (plan.Plan, error) {
	untold := t.want(len(want.Egress) > 0)
	if have != nil {
		h := *have
		h.Untold, have = untold, &h
	}
	want.Untold = untold
	return t.Backend.Plan(ctx, have, want)
}

// Explain is the Backend's.
func (t telling) Explain(p firewall.Policy) []firewall.ExplainedRule {
	p.Untold = t.want(len(p.Egress) > 0)
	return t.Backend.Explain(p)
}
