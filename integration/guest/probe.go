package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/sys/unix"
)

// probe asks many questions at once, a JSON list of report.Probe, and prints a
// report.Outcome for each, in their order, once all are over.
func probe(args []string) error {
	var probes []report.Probe
	if len(args) != 1 {
		return fmt.Errorf("%w: probe JSON", errUsage)
	}
	if err := json.Unmarshal([]byte(args[0]), &probes); err != nil {
		return fmt.Errorf("%w: probe: %w", errUsage, err)
	}
	outcomes := make([]report.Outcome, len(probes))
	var all sync.WaitGroup
	for i, p := range probes {
		all.Go(func() { outcomes[i] = outcome(p, uint16(os.Getpid()+i)) })
	}
	all.Wait()
	for _, o := range outcomes {
		if err := say(o); err != nil {
			return err
		}
	}
	return nil
}

func outcome(p report.Probe, id uint16) (o report.Outcome) {
	var err error
	if p.Network == "ping" {
		o.Pong, err = pingOnce(p, id)
	} else {
		var line string
		if line, err = ask(p); err == nil {
			err = json.Unmarshal([]byte(line), &o.Answer)
		}
	}
	o.Code = exitCode(err)
	if err != nil {
		o.Err = err.Error()
	}
	return o
}

func pingOnce(probe report.Probe, id uint16) (report.Pong, error) {
	addr, err := netip.ParseAddr(probe.To)
	if err != nil {
		return report.Pong{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	p, err := newPinger(addr, id)
	if err != nil {
		return report.Pong{}, err
	}
	defer unix.Close(p.fd)
	return p.once(0, 56, probe.Timeout)
}

// lookup resolves names and prints a report.Lookup for each.
func lookup(names []string) error {
	for _, name := range names {
		found, err := net.LookupHost(name)
		slices.Sort(found)
		one := report.Lookup{Name: name, Addrs: found}
		if err != nil {
			one.Err = err.Error()
		}
		if err := say(one); err != nil {
			return err
		}
	}
	return nil
}
