package churn

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/ask"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/plugin"
)

// settleWithin bounds how long mybr may take until the host matches the records, which
// takes the backoff of a pass that failed at worst.
const settleWithin = 90 * time.Second

func (c *churn) client() plugin.Client { return plugin.Client{RunDir: c.w.Path("/run/mybr")} }

// settled waits until mybr says that the host is as recorded.
func (c *churn) settled(when string) {
	c.t.Helper()
	c.w.Eventually(settleWithin, func() error {
		s, err := c.client().Status(c.t.Context())
		if err != nil {
			return err
		}
		if !s.Ready || s.Differences > 0 || s.LastError != "" || s.Unknown != "" {
			return fmt.Errorf("%s: mybr status: %+v", when, s)
		}
		return nil
	})
}

func (c *churn) runtime() plugin.Runtime {
	c.t.Helper()
	r, err := c.client().Runtime(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// footprint lists all that networks and containers could leave: links, rules, listening
// sockets, sandboxes, mybr's files but for the journal, Docker's own list of networks and containers.
func (c *churn) footprint() (found []string) {
	host := c.w.Host
	for _, l := range host.Links() {
		found = append(found, "link "+l.Name)
	}
	rules := map[string]bool{}
	for _, save := range []string{"iptables-save", "ip6tables-save"} {
		for line := range strings.Lines(host.Run(save)) {
			// Docker's own rules are gone once they were flushed.
			if line = strings.TrimSpace(line); strings.Contains(line, "MYBR") {
				line, _, _ = strings.Cut(line, " [")
				rules[alike(save+" "+line)] = true
			}
		}
	}
	for _, line := range slices.Concat(host.Tables(), host.Senders()) {
		if !strings.Contains(line, " set docker-bridges: ") { // read from Docker's own rules
			rules[alike(line)] = true
		}
	}
	found = slices.AppendSeq(found, maps.Keys(rules))
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		for line := range strings.Lines(host.Run("cat", "/proc/net/"+table)) {
			f := strings.Fields(line) // proc_net(5): 1 is the local address, 3 the state: 0A is LISTEN, 07 an unconnected UDP socket
			if len(f) > 3 && (f[3] == "0A" || f[3] == "07") {
				found = append(found, "socket "+table+" "+f[1])
			}
		}
	}
	found = append(found, fmt.Sprint("sandboxes ", strings.Count(host.Run("cat", "/proc/1/mountinfo"), " - nsfs ")))
	for _, name := range strings.Fields(host.Run("find", c.w.StateDir(), "/run/mybr", "/run/docker/plugins", "!", "-name", "mybr.db.journal")) {
		found = append(found, "file "+name)
	}
	for _, list := range [][]string{{"network", "ls", "--format", "{{.Name}}"}, {"ps", "-a", "--format", "{{.Names}}"}} {
		for _, name := range strings.Fields(c.w.Docker(list...)) {
			found = append(found, "docker "+list[0]+" "+name)
		}
	}
	slices.Sort(found)
	return found
}

// alike has one text for what each backend has, and in each table that it can be in, where
// mybr turned forwarding on.
func alike(rule string) string {
	if strings.Contains(rule, "MYBR-FORWARD-DROP") || strings.Contains(rule, " chain last: ") {
		family := "IPv4"
		if strings.HasPrefix(rule, "ip6") {
			family = "IPv6"
		}
		return "the host is no router of " + family
	}
	return rule
}

// agree compares the endpoints that Docker knows with mybr's records. Those that Docker has
// given up while mybr was away are recorded still.
func (c *churn) agree() {
	c.t.Helper()
	joined := map[string]bool{}
	c.view(func(tx *store.Tx) {
		for _, e := range tx.Endpoints() {
			joined[e.ID] = e.Sandbox != ""
		}
	})
	for _, network := range strings.Fields(c.w.Docker("network", "ls", "-q", "-f", "driver=mybr")) {
		for _, id := range strings.Fields(c.w.Docker("network", "inspect", "-f", "{{range .Containers}}{{.EndpointID}} {{end}}", network)) {
			if !joined[id] {
				c.t.Errorf("Docker's endpoint %s of network %s is not recorded as joined", id, network)
			}
		}
	}
}

// nothingLeft compares what is there with what was, and mybr's size.
func (c *churn) nothingLeft(before []string) {
	c.t.Helper()
	c.records()
	c.flows()
	c.w.Eventually(settleWithin, func() error {
		after := c.footprint()
		came := slices.DeleteFunc(slices.Clone(after), func(s string) bool { return slices.Contains(before, s) })
		gone := slices.DeleteFunc(slices.Clone(before), func(s string) bool { return slices.Contains(after, s) })
		if len(came)+len(gone) > 0 {
			return fmt.Errorf("in the end: came %q, gone %q", came, gone)
		}
		return nil
	})
	c.w.Eventually(settleWithin, func() error {
		// Docker keeps a connection or two open for the next call.
		b := c.tally.Before
		c.tally.After = c.runtime()
		if a := c.tally.After; a.Goroutines > b.Goroutines+2 || a.Descriptors > b.Descriptors+2 || a.Heap > b.Heap+4<<20 {
			return fmt.Errorf("mybr has grown: %+v, was %+v", a, b)
		}
		return nil
	})
}

// records looks for what mybr has recorded still. What Docker gave up while mybr was away
// goes when the subnet is used again, or when the address pool is released by hand.
func (c *churn) records() {
	c.t.Helper()
	var networks, pools []string
	var endpoints []*model.Endpoint
	c.view(func(tx *store.Tx) {
		for _, n := range tx.Networks() {
			networks = append(networks, n.ID)
		}
		endpoints = append(endpoints, tx.Endpoints()...)
		for _, p := range tx.Pools() {
			pools = append(pools, p.ID)
		}
	})
	c.tally.LeftPools = len(pools)
	excused := 0
	for what, n := range c.tally.Excused {
		if strings.HasPrefix(what, "network ") && strings.HasSuffix(what, "was away") {
			excused += n
		}
	}
	if n := len(networks) + len(pools); n > 2*excused {
		c.t.Errorf("recorded in the end: networks %v, endpoints %+v, pools %v; only %d commands about networks were disturbed", networks, endpoints, pools, excused)
	}
	for _, e := range endpoints {
		c.call("NetworkDriver.DeleteEndpoint", map[string]string{"NetworkID": e.NetworkID, "EndpointID": e.ID})
	}
	for _, n := range networks {
		c.call("NetworkDriver.DeleteNetwork", map[string]string{"NetworkID": n})
	}
	for _, p := range pools {
		c.call("IpamDriver.ReleasePool", map[string]string{"PoolID": p})
	}
	c.view(func(tx *store.Tx) {
		if n, e, p := tx.Networks(), tx.Endpoints(), tx.Pools(); len(n)+len(e)+len(p) > 0 {
			c.t.Errorf("recorded although it was deleted: networks %+v, endpoints %+v, pools %+v", n, e, p)
		}
	})
}

// view reads a copy of the records.
func (c *churn) view(read func(*store.Tx)) {
	c.t.Helper()
	s, err := store.Open(c.w.StateCopy(c.t.TempDir()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer s.Close()
	if err := s.View(func(tx *store.Tx) error { read(tx); return nil }); err != nil {
		c.t.Fatal(err)
	}
}

// flows looks for tracked flows of addresses that containers had. What the kernel itself
// sends from a bridge's address, reports of its multicast groups (RFC 3376), is no container's.
func (c *churn) flows() {
	c.t.Helper()
	for _, family := range []string{"ipv4", "ipv6"} {
		for flow := range strings.Lines(c.w.Host.Run("conntrack", "-L", "-f", family)) {
			if group := strings.Contains(flow, "dst=224.") || strings.Contains(flow, "dst=ff02:"); !group && (strings.Contains(flow, "=10.") || strings.Contains(flow, "=fd00:")) {
				c.t.Errorf("tracked in the end: %s", strings.TrimSpace(flow))
			}
		}
	}
}

// call makes a call that Docker did not, as it gave something up while mybr was away.
func (c *churn) call(method string, body any) {
	c.t.Helper()
	if err := ask.New(c.w.Path("/run/docker/plugins/mybr.sock"), 0).Call(c.t.Context(), method, body, nil); err != nil {
		c.t.Errorf("%s %v: %v", method, body, err)
	}
}
