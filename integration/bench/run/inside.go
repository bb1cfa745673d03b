package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/bench"
)

var insidePlayers = map[string]func(*session){
	"memory": memory, "attach": attach, "flows": flows, "relay": relays, "heal": heal, "serve": serves, "addresses": addresses,
}

// memory measures what mybr's process has in memory when it has nothing to do, and with many
// ports.
func memory(s *session) {
	s.close()
	const each = 1000
	for range max(3, int(5*s.opts.rounds)) {
		for _, sub := range s.callers(1) {
			key := func(published int) bench.Key {
				return bench.SizeKey("Memory", sub.version, sub.driver, "published", published)
			}
			s.record.Add(key(0), bench.Bytes, s.resident(sub))
			s.fill(sub, 0, bench.ManyPorts/each)
			var err error
			for n := range bench.ManyPorts / each {
				if err = sub.mybr.publish(endpoint{0, n}, firstPort+each*n, each); err != nil {
					s.fail(key(bench.ManyPorts), err)
					break
				}
			}
			if err == nil {
				s.record.Add(key(bench.ManyPorts), bench.Bytes, s.resident(sub))
			}
		}
		s.close()
	}
}

// resident is what mybr has in memory, with its children if it had any (proc_pid_status(5)).
func (s *session) resident(sub *subject) (total float64) {
	pids := []int{sub.w.MybrPID()}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[0], pids[0]))
	s.must(err)
	for _, field := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(field)
		s.must(err)
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		s.must(err)
		_, rest, found := strings.Cut(string(text), "\nVmRSS:")
		var kib float64
		if _, err := fmt.Sscan(rest, &kib); !found || err != nil {
			s.Fatalf("/proc/%d/status has no VmRSS: %v", pid, err)
		}
		total += kib * 1024
	}
	return total
}

// attach measures what mybr spends in all calls for an endpoint, beside more and more
// others: one mybr for each size, which have their turns.
func attach(s *session) {
	s.close()
	subjects := s.callers(len(bench.EndpointCounts))
	size := map[*subject]int{}
	for i, sub := range subjects {
		size[sub] = bench.EndpointCounts[i/len(s.mybrs())]
		s.fill(sub, 0, size[sub])
		s.printf("# attach, %s has %d endpoints\n", sub.driver, size[sub])
	}
	next := 2000 // the endpoints that are measured
	s.rounds(120, 20, subjects, func(sub *subject) {
		next++
		proc := fmt.Sprint("/proc/", sub.w.MybrPID())
		before, err := cpuNanoseconds(proc)
		s.must(err)
		attached, detached := s.attachOnce(sub, endpoint{0, next})
		after, err := cpuNanoseconds(proc)
		s.must(err)
		of := func(name string) bench.Key {
			return bench.SizeKey(name, sub.version, sub.driver, "endpoints", size[sub])
		}
		s.record.Add(of("Attach"), bench.Nanoseconds, float64(attached))
		s.record.Add(of("Detach"), bench.Nanoseconds, float64(detached))
		s.record.Add(of("AttachDetachCPU"), bench.Nanoseconds, after-before)
	})
	for _, sub := range subjects[:len(s.mybrs())] {
		for range 5 {
			next++
			const calls = 6 // of attachOnce
			synced := s.syncs(sub, func() { s.attachOnce(sub, endpoint{0, next}) })
			s.record.Add(sub.key("CallSyncs"), bench.Syncs, float64(synced)/calls)
		}
	}
	s.close()
}

// attachOnce makes an endpoint and removes it, and gives what mybr's calls took.
func (s *session) attachOnce(sub *subject, e endpoint) (attached, detached time.Duration) {
	timed := func(sum *time.Duration, call func() error) {
		began := time.Now()
		err := call()
		*sum += time.Since(began)
		s.must(err)
	}
	var name string
	timed(&attached, func() error { return sub.mybr.create(e) })
	timed(&attached, func() (err error) { name, err = sub.mybr.join(e); return err })
	s.must(sub.toPod(name))
	timed(&attached, func() error { return sub.mybr.publish(e, 0, 0) })
	timed(&detached, func() error { return sub.mybr.revoke(e) })
	timed(&detached, func() error { return sub.mybr.leave(e) })
	timed(&detached, func() error { return sub.mybr.delete(e) })
	return attached, detached
}

// flows measures a publish and a removal beside tracked flows.
func flows(s *session) {
	s.close()
	subjects := s.callers(len(bench.FlowCounts))
	count := map[*subject]int{}
	for i, sub := range subjects {
		count[sub] = bench.FlowCounts[i/len(s.mybrs())]
		s.fill(sub, 0, 1)
		s.track(sub, count[sub])
	}
	s.rounds(40, 10, subjects, func(sub *subject) {
		of := func(name string) bench.Key {
			return bench.SizeKey(name, sub.version, sub.driver, "flows", count[sub])
		}
		s.took(of("Publish"), func() error { return sub.mybr.publish(endpoint{0, 0}, firstPort, 1) })
		s.took(of("Revoke"), func() error { return sub.mybr.revoke(endpoint{0, 0}) })
	})
	s.close()
}

// track has the kernel track flows that are none of mybr's, for longer than a row takes.
func (s *session) track(sub *subject, count int) {
	s.must(each(4, count, func(n int) error {
		from, to := []byte{198, 51, 100, byte(n >> 16)}, []byte{203, 0, 113, 1} // RFC 5737
		port := uint16(n)
		return sub.w.Host.Handle().ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
			FamilyType: unix.AF_INET, TimeOut: 7200,
			Forward: netlink.IPTuple{SrcIP: from, DstIP: to, SrcPort: port, DstPort: 53, Protocol: unix.IPPROTO_UDP},
			Reverse: netlink.IPTuple{SrcIP: to, DstIP: from, SrcPort: 53, DstPort: port, Protocol: unix.IPPROTO_UDP},
		})
	}))
}

// syncs counts the fsync(2) and fdatasync(2) calls of mybr while something is done.
func (s *session) syncs(sub *subject, do func()) int {
	dir, err := os.MkdirTemp("", "bench-")
	s.must(err)
	defer os.RemoveAll(dir)
	trace := filepath.Join(dir, "trace")
	tracer, err := startTracer(sub.w.MybrPID(), trace)
	s.must(err)
	do()
	s.must(tracer.Process.Signal(syscall.SIGINT)) // it lets go of the process and ends
	tracer.Wait()                                 // by that signal
	text, err := os.ReadFile(trace)
	s.must(err)
	return strings.Count(string(text), "sync(")
}
