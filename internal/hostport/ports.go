package hostport

import (
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"
)

// The range from which the kernel itself takes ports where nothing else is set
// (ip-sysctl.rst, ip_local_port_range).
const (
	defaultFirst = 32768
	defaultLast  = 60999
)

// portSet is a set of port numbers: bit p%64 of word p/64.
type portSet [1024]uint64

func (s *portSet) add(p uint16)      { s[p/64] |= 1 << (p % 64) }
func (s *portSet) has(p uint16) bool { return s[p/64]&(1<<(p%64)) != 0 }

// span is the ports from first to last, both included, without those of skip.
type span struct {
	first, last uint16
	skip        portSet
}

// ephemeral reads the host's range for ports of which nobody cares about the
// number, without those that the administrator keeps back. A file that is missing
// means the kernel's default.
func ephemeral(root string) (*span, error) {
	s := &span{first: defaultFirst, last: defaultLast}
	if text, err := os.ReadFile(root + "/net/ipv4/ip_local_port_range"); err == nil {
		if s.first, s.last, err = parseRange(string(text)); err != nil {
			return nil, fmt.Errorf("ip_local_port_range: %w", err)
		}
	}
	if text, err := os.ReadFile(root + "/net/ipv4/ip_local_reserved_ports"); err == nil {
		if s.skip, err = parsePorts(string(text)); err != nil {
			return nil, fmt.Errorf("ip_local_reserved_ports: %w", err)
		}
	}
	return s, nil
}

// after yields the span's ports once each, beginning behind last and going round;
// if last is outside, from the beginning.
func (s *span) after(last uint16) iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		size := int(s.last) - int(s.first) + 1
		start := 0
		if last >= s.first && last < s.last {
			start = int(last) - int(s.first) + 1
		}
		for i := range size {
			p := s.first + uint16((start+i)%size)
			if !s.skip.has(p) && !yield(p) {
				return
			}
		}
	}
}

// parseRange reads ip_local_port_range: two numbers with blanks between.
func parseRange(text string) (first, last uint16, err error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return 0, 0, fmt.Errorf("%q is not two port numbers", strings.TrimSpace(text))
	}
	if first, err = parsePort(fields[0]); err != nil {
		return 0, 0, err
	}
	if last, err = parsePort(fields[1]); err != nil {
		return 0, 0, err
	}
	if first == 0 || last < first {
		return 0, 0, fmt.Errorf("%d to %d is not a range of ports", first, last)
	}
	return first, last, nil
}

// parsePorts reads ip_local_reserved_ports: numbers and ranges with commas between
// (`8080,9148-9150`), or nothing.
func parsePorts(text string) (portSet, error) {
	var set portSet
	text = strings.TrimSpace(text)
	if text == "" {
		return set, nil
	}
	for item := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(item), "-")
		first, err := parsePort(from)
		if err != nil {
			return set, err
		}
		last := first
		if isRange {
			if last, err = parsePort(to); err != nil {
				return set, err
			}
		}
		if last < first {
			return set, fmt.Errorf("%q is not a range of ports", item)
		}
		for p := int(first); p <= int(last); p++ {
			set.add(uint16(p))
		}
	}
	return set, nil
}

func parsePort(text string) (uint16, error) {
	p, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port number", text)
	}
	return uint16(p), nil
}
