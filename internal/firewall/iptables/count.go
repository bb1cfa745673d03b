package iptables

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// Count reads the counters of the rules in MYBR-PORTS and below it. Nothing waits for it: passes go on
// meanwhile.
func (b *Backend) Count(ctx context.Context, ports []firewall.Port) (map[model.PortBinding]firewall.Counter, error) {
	counted := map[model.PortBinding]firewall.Counter{}
	sides := []*side{b.v4}
	if b.v6 != nil {
		sides = append(sides, b.v6)
	}
	var errs []error
	for _, s := range sides {
		b.mu.Lock()
		use := s.state.use
		b.mu.Unlock()
		rules := map[string]model.PortBinding{}
		for _, p := range ports {
			if s.fam.Has(p.Container.Addr()) {
				rules[s.fam.publishing(p).text] = p.PortBinding
			}
		}
		if use == nil || len(rules) == 0 {
			continue
		}
		text, err := use.run(ctx, "", use.command+"-save", "-c", "-t", "nat")
		if err != nil {
			errs = append(errs, wrap(fmt.Errorf("%s-save -c -t nat: %w", use, err)))
			continue
		}
		for rule, packets := range counters(text, chainPorts) {
			if binding, ok := rules[rule]; ok {
				counted[binding] = firewall.Counter{Connections: packets}
			}
		}
	}
	return counted, errors.Join(errs...)
}

// counters reads the packets that the rules of a chain, and of those below it, have counted,
// by their text, from lines of iptables-save -c such as "[3:180] -A CHAIN RULE".
func counters(text, chain string) map[string]uint64 {
	packets := map[string]uint64{}
	for line := range strings.Lines(text) {
		counter, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "] ")
		name, rule, _ := strings.Cut(strings.TrimPrefix(rest, "-A "), " ")
		first, _, _ := strings.Cut(strings.TrimPrefix(counter, "["), ":")
		if n, err := strconv.ParseUint(first, 10, 64); err == nil && (name == chain || strings.HasPrefix(name, chain+"/")) {
			packets[rule] += n
		}
	}
	return packets
}
