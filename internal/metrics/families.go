package metrics

import (
	"fmt"
	"strings"
)

// The names, by Prometheus' conventions (prometheus.io/docs/practices/naming).
const (
	buildInfo      = "mybr_build_info"
	ready          = "mybr_ready"
	lastPassFailed = "mybr_last_pass_failed"
	sourceUp       = "mybr_source_up"
	omitted        = "mybr_series_omitted"

	requestsTotal  = "mybr_requests_total"
	requestSeconds = "mybr_request_duration_seconds"
	passesTotal    = "mybr_passes_total"
	passSeconds    = "mybr_pass_duration_seconds"
	driftFound     = "mybr_drift_found_total"
	driftHealed    = "mybr_drift_healed_total"
	driftChanges   = "mybr_drift_changes_total"

	networks      = "mybr_networks"
	endpoints     = "mybr_endpoints"
	joined        = "mybr_endpoints_joined"
	ports         = "mybr_published_ports"
	pools         = "mybr_pools"
	poolAddresses = "mybr_pool_addresses"
	storeBytes    = "mybr_store_size_bytes"

	relayBegun       = "mybr_relay_connections_total"
	relayOpen        = "mybr_relay_connections_open"
	relayRefused     = "mybr_relay_refused_total"
	relayUnreachable = "mybr_relay_unreachable_total"
	relayBytes       = "mybr_relay_bytes_total"

	namesBegun       = "mybr_names_connections_total"
	namesOpen        = "mybr_names_connections_open"
	namesRefused     = "mybr_names_refused_total"
	namesUnreachable = "mybr_names_unreachable_total"
	namesBytes       = "mybr_names_bytes_total"
	namesQueries     = "mybr_names_queries_total"

	networkPackets  = "mybr_network_packets_total"
	networkBytes    = "mybr_network_bytes_total"
	networkDrops    = "mybr_network_drops_total"
	portConnections = "mybr_port_connections_total"
	egressRefused   = "mybr_egress_refused_total"
	egressAudited   = "mybr_egress_audited_total"
	egressLost      = "mybr_egress_lost_total"
)

// The types of metric.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// Family is all series of one name.
type Family struct {
	Name   string
	Type   string
	Help   string
	Labels []string
	About  string // what Help has no room for
}

// Families lists everything that is told, in the order in which it is explained. What
// begins with go_ or process_ is the Go client library's.
func Families() []Family {
	return []Family{
		{buildInfo, gauge, "Always 1; the labels say what runs.", []string{"version"}, ""},
		{ready, gauge, "1 once the first pass has ended, well or not.", nil, "Until then, calls of Docker that change something wait."},
		{lastPassFailed, gauge, "1 while the last pass has left something to be tried again.", nil, "The page, and `mybr status`, say what."},
		{sourceUp, gauge, "1 if what these series are made from could be read for this scrape.", []string{"source"},
			"`view`: the records, pools and counters of rules; `bridges`: the kernel's counters of bridges; `store`: the state file."},
		{omitted, gauge, "Ports, networks and pools that have no series of their own, because there are too many.", []string{"kind"},
			fmt.Sprintf("Of each `kind` (`networks`, `pools`, `ports`) the first %d have some, in the order of the tables of `mybr`. The totals count all.", Limit)},

		{requestsTotal, counter, "Requests of Docker that were answered.", []string{"method", "outcome"},
			"`outcome`: `ok`; `refused` for what was asked; `failed` on the host; `given_up` by Docker before it was begun. What is no known call has the method `unknown`."},
		{requestSeconds, histogram, "How long requests of Docker took, from their header to the answer.", []string{"method"}, ""},
		{passesTotal, counter, "Passes over the host.", []string{"kind", "outcome"},
			"`kind`: `delta` made differences only; `full` looked at an aspect of the host as if nothing were known of it. `outcome`: `ok`, or `failed` if something is left to be tried again."},
		{passSeconds, histogram, "How long passes over the host took.", []string{"kind"}, ""},
		{driftFound, counter, "Times that others were found to have changed something on the host.", []string{"aspect"},
			"What can't be put right is found again at each attempt."},
		{driftHealed, counter, "Times that what others had changed on the host was put right.", []string{"aspect"}, ""},
		{driftChanges, counter, "Changes that it took to put right what others had changed.", []string{"aspect"}, ""},

		{networks, gauge, "Networks that are recorded.", nil, ""},
		{endpoints, gauge, "Endpoints that are recorded.", nil, ""},
		{joined, gauge, "Endpoints that a container has joined.", nil, ""},
		{ports, gauge, "Published ports; each of a range counts.", []string{"protocol", "carried"},
			"`carried`: `nat` by the kernel, `process` by mybr, `direct` at the container's own address, `closed` not at all (SCTP with `mybr.publish.policy=host`). A port that is published at addresses of both families counts twice."},
		{pools, gauge, "Address pools that mybr's IPAM driver holds.", nil, ""},
		{poolAddresses, gauge, "Addresses of a pool of mybr's IPAM driver.", []string{"pool", "state"},
			"`state`: `used`; `resting` for a while after they were released; `kept` for who had named them; `free`."},
		{storeBytes, gauge, "Size of the state file.", nil, ""},

		{relayBegun, counter, "Connections and UDP clients that the process has begun to carry.", []string{"protocol"},
			"What NAT translates does not pass through the process and is not here."},
		{relayOpen, gauge, "Connections and UDP clients that the process carries now.", []string{"protocol"}, ""},
		{relayRefused, counter, "Connections that were reset, and datagrams that were dropped, for lack of file descriptors.", []string{"protocol"}, ""},
		{relayUnreachable, counter, "TCP connections that were reset because the container did not take them.", nil, ""},
		{relayBytes, counter, "Bytes that the process has carried.", []string{"protocol", "direction"},
			"`direction`: `to_containers` or `from_containers`. Of a TCP connection that goes on, the last MiB in each direction may not be counted yet."},

		{namesBegun, counter, "Connections that the process has begun to carry to hosts that egress lists have by name.", []string{"protocol"},
			"`protocol`: `tls`, or `http`, of which one connection can have many requests."},
		{namesOpen, gauge, "Connections that the process carries to such hosts now.", []string{"protocol"}, ""},
		{namesRefused, counter, "Connections and requests of HTTP that no list allowed, or that named no host.", nil, ""},
		{namesUnreachable, counter, "Connections and requests to listed hosts that could not be reached.", nil, ""},
		{namesBytes, counter, "Bytes between containers and hosts that lists have by name.", []string{"direction"},
			"`direction`: `to_hosts` or `from_hosts`, between the process and the container. Of a TLS connection that goes on, the last MiB in each direction may not be counted yet."},
		{namesQueries, counter, "Questions of DNS from containers whose lists have host names.", []string{"outcome"},
			"`outcome`: `answered`, as that a name does not exist; `refused`; `failed`, because no resolver of the host answered or the way to the host could not be opened; `malformed`; `dropped`, because there were too many at a time."},

		{networkPackets, counter, "Packets between a network and the host, or what is behind it.", []string{"network", "bridge", "direction"},
			"The bridge's own counters: what containers of one network send each other is not in them. They begin anew with the bridge."},
		{networkBytes, counter, "Bytes between a network and the host, or what is behind it.", []string{"network", "bridge", "direction"}, ""},
		{networkDrops, counter, "Packets that the kernel has dropped at a network's bridge.", []string{"network", "bridge", "direction"},
			"What rules drop is not in it."},
		{portConnections, counter, "Connections and UDP clients that the kernel has led from a published port to its container.",
			[]string{"network", "protocol", "address", "port"},
			"The counter of the port's NAT rule, which sees the first packet of each connection only; it begins anew with the rule. What the process carries is not in it."},
		{egressRefused, counter, "What egress lists have refused.", []string{"network", "bridge"},
			"Of networks with lists. Connections that were begun, each time that they were tried, packets to the host, and what was refused by name. The kernel tells of 100 packets a second at most (`mybr denied`): beyond that it is not counted."},
		{egressAudited, counter, "What egress lists would have refused, had they not only been watched.", []string{"network", "bridge"}, "Likewise (`mybr.egress.mode=audit`)."},
		{egressLost, counter, "How often refusals came faster than the process could hear of them.", nil, ""},
	}
}

func byName() map[string]Family {
	m := map[string]Family{}
	for _, f := range Families() {
		m[f.Name] = f
	}
	return m
}

// Reference is docs/metrics.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Written by go test ./internal/metrics -update; the tests compare it. -->

` + "`mybr serve --http 127.0.0.1:9180`" + ` answers scrapes of Prometheus at ` + "`/metrics`" + `. Requests and passes are counted as they
end, and everything else is read when somebody scrapes, so that nothing is paid for what nobody reads. A scrape takes
` + fmt.Sprint(CollectWithin) + ` at most, and requests of Docker don't wait for it. Series that begin with ` + "`go_` and `process_`" + ` are those of
Prometheus' Go client.

` + "`contrib/prometheus/` has a configuration to begin with and alert rules, and `contrib/grafana/mybr.json`" + ` a dashboard.
Debian's package has them below ` + "`/usr/share/doc/mybr/examples`" + `.

| metric | type | labels | what it is |
| --- | --- | --- | --- |
`)
	for _, f := range Families() {
		var labels []string
		for _, l := range f.Labels {
			labels = append(labels, "`"+l+"`")
		}
		text := f.Help
		if f.About != "" {
			text += " " + f.About
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, strings.Join(labels, " "), text)
	}
	return b.String()
}
