package metrics

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/view"
)

// Sources is where a scrape reads from. All are needed, and may be called at the same time.
type Sources struct {
	Version string
	View    func(ctx context.Context) (view.View, error)
	Bridges func() (map[string]Bridge, error) // by name
	Relayed func() (tcp, udp Relayed)
	Named   func() Named
	Drift   func() map[string]Drift // by aspect: each there is, and what was found of it
	Health  func() Health
	Denied  func() (networks map[string]Denied, lost uint64) // by ID
	Store   func() (bytes int64, err error)

	Read    func(source string, err error) // is told how each reading of a source went
	Crashed func(value any, stack []byte)  // is told of a panic in one of the others
}

// Bridge is what the kernel has counted of a bridge: what came from containers, and what was
// sent to them.
type Bridge struct{ From, To Count }

// Count is of one direction.
type Count struct{ Packets, Bytes, Drops uint64 }

// Relayed is what the process has carried of one protocol.
type Relayed struct {
	Begun, Ended, Refused, Unreachable uint64
	To, From                           uint64 // bytes to containers, and from them
}

// Named is what the process has served containers whose egress lists have host names.
type Named struct {
	TLS, HTTP            struct{ Begun, Ended uint64 }
	Refused, Unreachable uint64
	To, From             uint64 // bytes to hosts, and from them

	Answered, Refusals, Failed, Malformed, Dropped uint64 // questions of DNS
}

// Denied is what the egress lists of a network have refused, and what they would have (Let).
type Denied struct{ Refused, Let uint64 }

// Drift is what others had changed.
type Drift struct{ Found, Healed, Changes uint64 }

// Health is how the process is.
type Health struct {
	Ready  bool // the first pass has ended
	Failed bool // the last pass has left something to be tried again
}

// collector reads the sources when somebody scrapes.
type collector struct {
	Sources
	descs map[string]*prometheus.Desc
}

func newCollector(s Sources) *collector {
	c := &collector{Sources: s, descs: map[string]*prometheus.Desc{}}
	for _, f := range Families() {
		switch f.Name {
		case requestsTotal, requestSeconds, passesTotal, passSeconds: // they count by themselves
		default:
			c.descs[f.Name] = prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
		}
	}
	return c
}

// Describe is prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// scrape is one answer in the making.
type scrape struct {
	*collector
	out  chan<- prometheus.Metric
	told map[string]bool // by name and labels: the same series twice would spoil the whole answer
}

// Collect is prometheus.Collector. It runs in a goroutine of the registry's, where a panic
// would end the process.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	defer func() {
		if v := recover(); v != nil {
			c.Crashed(v, debug.Stack())
			ch <- prometheus.NewInvalidMetric(c.descs[sourceUp], errors.New("mybr crashed in this scrape (see its log)"))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), CollectWithin)
	defer cancel()
	s := &scrape{collector: c, out: ch, told: map[string]bool{}}
	s.gauge(buildInfo, 1, c.Version)
	h := c.Health()
	s.gauge(ready, truth(h.Ready))
	s.gauge(lastPassFailed, truth(h.Failed))
	for aspect, d := range c.Drift() {
		s.counter(driftFound, d.Found, aspect)
		s.counter(driftHealed, d.Healed, aspect)
		s.counter(driftChanges, d.Changes, aspect)
	}
	size, err := c.Store()
	s.source("store", err)
	if err == nil {
		s.gauge(storeBytes, float64(size))
	}
	s.relayed()
	s.named()

	refused, lost := c.Denied()
	s.counter(egressLost, lost)

	v, errView := c.View(ctx)
	if err = errView; err == nil && v.Unknown != "" {
		err = errors.New(v.Unknown)
	}
	s.source("view", err)
	bridges, err := c.Bridges()
	s.source("bridges", err)
	if errView == nil {
		s.view(v)
		s.networks(v, bridges)
		s.refused(v, refused)
	}
}

func (s *scrape) source(name string, err error) {
	s.Read(name, err)
	s.gauge(sourceUp, truth(err == nil), name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *scrape) counter(name string, value uint64, labels ...string) {
	s.tell(name, prometheus.CounterValue, float64(value), labels)
}

func (s *scrape) gauge(name string, value float64, labels ...string) {
	s.tell(name, prometheus.GaugeValue, value, labels)
}

func (s *scrape) tell(name string, kind prometheus.ValueType, value float64, labels []string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD") // other labels are an error
	}
	if key := name + "\x00" + strings.Join(labels, "\x00"); !s.told[key] {
		s.told[key] = true
		s.out <- prometheus.MustNewConstMetric(s.descs[name], kind, value, labels...)
	}
}

func (s *scrape) relayed() {
	tcp, udp := s.Relayed()
	for protocol, r := range map[string]Relayed{"tcp": tcp, "udp": udp} {
		s.counter(relayBegun, r.Begun, protocol)
		s.gauge(relayOpen, float64(r.Begun)-float64(r.Ended), protocol)
		s.counter(relayRefused, r.Refused, protocol)
		s.counter(relayBytes, r.To, protocol, "to_containers")
		s.counter(relayBytes, r.From, protocol, "from_containers")
	}
	s.counter(relayUnreachable, tcp.Unreachable)
}

func (s *scrape) named() {
	n := s.Named()
	s.counter(namesBegun, n.TLS.Begun, "tls")
	s.counter(namesBegun, n.HTTP.Begun, "http")
	s.gauge(namesOpen, float64(n.TLS.Begun)-float64(n.TLS.Ended), "tls")
	s.gauge(namesOpen, float64(n.HTTP.Begun)-float64(n.HTTP.Ended), "http")
	s.counter(namesRefused, n.Refused)
	s.counter(namesUnreachable, n.Unreachable)
	s.counter(namesBytes, n.To, "to_hosts")
	s.counter(namesBytes, n.From, "from_hosts")
	s.counter(namesQueries, n.Answered, "answered")
	s.counter(namesQueries, n.Refusals, "refused")
	s.counter(namesQueries, n.Failed, "failed")
	s.counter(namesQueries, n.Malformed, "malformed")
	s.counter(namesQueries, n.Dropped, "dropped")
}

// view tells of endpoints, ports and pools.
func (s *scrape) view(v view.View) {
	s.gauge(networks, float64(len(v.Networks)))
	s.gauge(endpoints, float64(len(v.Endpoints)))
	s.gauge(pools, float64(len(v.Pools)))
	inUse := 0
	for _, e := range v.Endpoints {
		if e.Sandbox != "" {
			inUse++
		}
	}
	s.gauge(joined, float64(inUse))

	type kind struct{ protocol, carried string }
	published, counted := map[kind]int{}, 0
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		for _, carried := range []string{view.ByNAT, view.ByProcess, view.Directly, view.Closed} {
			published[kind{protocol, carried}] = 0
		}
	}
	for _, p := range v.Ports {
		published[kind{p.Proto, p.Carried}] += int(p.Count)
		if p.Traffic == nil {
			continue
		}
		if counted++; counted <= Limit {
			s.counter(portConnections, p.Traffic.Connections, model.ShortID(p.Network), p.Proto, p.Host.Addr().String(), portsOf(p))
		}
	}
	for k, n := range published {
		s.gauge(ports, float64(n), k.protocol, k.carried)
	}
	s.gauge(omitted, float64(max(counted-Limit, 0)), "ports")

	for _, p := range v.Pools[:min(len(v.Pools), Limit)] {
		s.gauge(poolAddresses, float64(p.Used), p.ID, "used")
		s.gauge(poolAddresses, float64(p.Rests), p.ID, "resting")
		s.gauge(poolAddresses, float64(p.Kept), p.ID, "kept")
		s.gauge(poolAddresses, float64(p.Free), p.ID, "free")
	}
	s.gauge(omitted, float64(max(len(v.Pools)-Limit, 0)), "pools")
}

// networks tells what the bridges have counted. One that is not there has no series.
func (s *scrape) networks(v view.View, bridges map[string]Bridge) {
	for _, n := range v.Networks[:min(len(v.Networks), Limit)] {
		b, ok := bridges[n.Bridge]
		if !ok {
			continue
		}
		for direction, c := range map[string]Count{"from_containers": b.From, "to_containers": b.To} {
			s.counter(networkPackets, c.Packets, model.ShortID(n.ID), n.Bridge, direction)
			s.counter(networkBytes, c.Bytes, model.ShortID(n.ID), n.Bridge, direction)
			s.counter(networkDrops, c.Drops, model.ShortID(n.ID), n.Bridge, direction)
		}
	}
	s.gauge(omitted, float64(max(len(v.Networks)-Limit, 0)), "networks")
}

// refused tells what egress lists have refused, of networks that have some, or had.
func (s *scrape) refused(v view.View, refused map[string]Denied) {
	listed := map[string]bool{}
	for _, n := range v.Networks {
		listed[n.ID] = slices.ContainsFunc(n.Settings, isEgress)
	}
	for _, e := range v.Endpoints {
		listed[e.Network] = listed[e.Network] || slices.ContainsFunc(e.Settings, isEgress)
	}
	for _, n := range v.Networks[:min(len(v.Networks), Limit)] {
		c, counted := refused[n.ID]
		if !counted && !listed[n.ID] {
			continue
		}
		s.counter(egressRefused, c.Refused, model.ShortID(n.ID), n.Bridge)
		s.counter(egressAudited, c.Let, model.ShortID(n.ID), n.Bridge)
	}
}

func isEgress(s view.Setting) bool { return s.Name == view.EgressName }

// portsOf is "8080", or "8000-8009" for a range.
func portsOf(p view.Port) string {
	first := strconv.Itoa(int(p.Host.Port()))
	if p.Count <= 1 {
		return first
	}
	return first + "-" + strconv.Itoa(int(p.Host.Port())+int(p.Count)-1)
}
