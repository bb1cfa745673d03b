package world_test

import (
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestTraffic interrupts traffic for a known time, and then breaks its connections.
func TestTraffic(t *testing.T) {
	w := world.New(t, world.Config{Driver: "bridge"})
	w.Network("n1")
	web := w.Serve("web", []string{"--net", "n1", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	w.LAN.Start("guest", "serve", "tcp:7000")
	port := world.HostAddr + ":8088"
	flows := []world.Flow{
		w.LAN.Flow(report.Stream, port), w.LAN.Flow(report.Connects, port), w.LAN.Flow(report.UDP, port),
		web.Flow(report.Ping, world.LANAddr), web.Flow(report.Connects, world.LANAddr+":7000"),
		w.LAN.Intrusion(report.Connects, world.HostAddr+":8099"),
	}

	calm := w.Traffic(flows...).Stop()
	if calm.Broken() != 0 || calm.Refused() != 0 || calm.Unsettled() != 0 || calm.Gap() > 5*time.Second {
		t.Errorf("nothing happened: %v", calm)
	}

	tr := w.Traffic(flows...)
	w.Host.Run("iptables", "-I", "FORWARD", "-j", "DROP")
	began := time.Now()
	w.LAN.Get("tcp", port, "--timeout=300ms")
	closed := time.Since(began)
	w.Host.Run("iptables", "-D", "FORWARD", "1")
	seen := tr.Stop()
	for _, f := range seen {
		if !f.Closed && (f.Gap < closed || f.Unsettled) {
			t.Errorf("closed for %v: %v", closed, f)
		}
	}
	if seen.Broken() != 0 {
		t.Errorf("closed for %v: a stream broke: %v", closed, seen)
	}

	tr = w.Traffic(flows[0], flows[1])
	w.Host.Run("iptables", "-I", "FORWARD", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
	for range 10 {
		if o := w.LAN.Get("tcp", port); o.Code != report.Refused {
			t.Errorf("rejected: %v", o)
		}
	}
	w.Host.Run("iptables", "-D", "FORWARD", "1")
	seen = tr.Stop()
	if seen[0].Broken == 0 || seen[1].Refused == 0 {
		t.Errorf("reset: want a broken stream and refused connections: %v", seen)
	}

	w.Host.Start("guest", "serve", "tcp:7001")
	tr = w.Traffic(flows[1], w.LAN.Intrusion(report.Connects, world.HostAddr+":7001"))
	w.Host.Run("iptables", "-I", "FORWARD", "-j", "DROP")
	seen = tr.Stop()
	if !seen[0].Unsettled || seen.Gap() < 5*time.Second {
		t.Errorf("closed for good: %v", seen)
	}
	if longest, requests := seen.Open(); longest < 5*time.Second || requests == 0 || !seen[1].Unsettled {
		t.Errorf("an intruder that gets in: %v", seen)
	}
}
