// Package metrics tells Prometheus how mybr and its networks are. Requests and passes are
// counted as they end; everything else is asked for when somebody scrapes.
//
// Families lists what there is, and docs/metrics.md is made from it. The number of series is
// bounded: of ports, networks and pools the first Limit of each are told of, and how many
// are left out is a series itself.
//
// Be aware: a scrape waits for what it asks, CollectWithin at most; requests don't wait for
// a scrape. A source that can't be read leaves its series out, and says so in one of
// mybr_source_up.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// Limit is of how many ports, networks and pools there are series: a host's container
	// engine has some hundred containers, and Prometheus counts series in thousands for
	// each target.
	Limit = 500

	// CollectWithin is how long the sources may take; Prometheus gives a scrape up after 10 s
	// (scrape_timeout).
	CollectWithin = 5 * time.Second

	scrapesAtOnce = 2 // a pair of Prometheus servers
)

// Outcomes of a request.
const (
	OK      = "ok"
	Refused = "refused"  // for what was asked, or how
	Failed  = "failed"   // the host could not be changed so
	GivenUp = "given_up" // the client hung up before it was begun
)

// Unknown is the method of a request that is none of the known ones.
const Unknown = "unknown"

// Metrics counts, and answers scrapes. Its methods may be called from any goroutine.
type Metrics struct {
	registry *prometheus.Registry

	methods  map[string]bool
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	passes   *prometheus.CounterVec
	passTook *prometheus.HistogramVec
}

// New returns Metrics that read from s. methods are those of the requests to come.
func New(s Sources, methods []string) *Metrics {
	f := byName()
	m := &Metrics{
		registry: prometheus.NewRegistry(), methods: map[string]bool{Unknown: true},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: requestsTotal, Help: f[requestsTotal].Help}, f[requestsTotal].Labels),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: requestSeconds, Help: f[requestSeconds].Help,
			// From what IPAM takes to what an aspect of a pass may take (reconcile.applyWithin).
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 20},
		}, f[requestSeconds].Labels),
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: passesTotal, Help: f[passesTotal].Help}, f[passesTotal].Labels),
		passTook: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: passSeconds, Help: f[passSeconds].Help, Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 20},
		}, f[passSeconds].Labels),
	}
	// What has not happened yet is 0, so that the first time is an increase.
	for _, method := range methods {
		m.methods[method] = true
		for _, outcome := range []string{OK, Refused, Failed, GivenUp} {
			m.requests.WithLabelValues(method, outcome)
		}
	}
	for _, kind := range []string{kindFull, kindDelta} {
		m.passTook.WithLabelValues(kind)
		for _, outcome := range []string{OK, Failed} {
			m.passes.WithLabelValues(kind, outcome)
		}
	}
	m.registry.MustRegister(
		m.requests, m.took, m.passes, m.passTook, newCollector(s),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector(),
	)
	return m
}

// Request counts a request that has been answered.
func (m *Metrics) Request(method, outcome string, took time.Duration) {
	if !m.methods[method] {
		method = Unknown
	}
	m.requests.WithLabelValues(method, outcome).Inc()
	m.took.WithLabelValues(method).Observe(took.Seconds())
}

// The kinds of pass.
const (
	kindFull  = "full"
	kindDelta = "delta"
)

// FullPass counts a pass that looked at an aspect of the host as if nothing were known of it.
func (m *Metrics) FullPass(err error, took time.Duration) { m.pass(kindFull, err, took) }

// DeltaPass counts a pass that made differences only.
func (m *Metrics) DeltaPass(err error, took time.Duration) { m.pass(kindDelta, err, took) }

func (m *Metrics) pass(kind string, err error, took time.Duration) {
	outcome := OK
	if err != nil {
		outcome = Failed
	}
	m.passes.WithLabelValues(kind, outcome).Inc()
	m.passTook.WithLabelValues(kind).Observe(took.Seconds())
}

// Handler answers scrapes, in the text formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesAtOnce,
		ErrorHandling:       promhttp.HTTPErrorOnError, // half of an answer would pass for all
	})
}
