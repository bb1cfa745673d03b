package hostport

import (
	"errors"
	"fmt"
	"io/fs"
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

// ephemeral reads the host's range for ports without a number, without those that the
// administrator has reserved. A file that is missing means the kernel's default.
func ephemeral(root string) (*span, error) {
	s := &span{first: defaultFirst, last: defaultLast}
	for path, parse := range map[string]func(text string) error{
		"ip_local_port_range":     func(text string) (err error) { s.first, s.last, err = parseRange(text); return err },
		"ip_local_reserved_ports": func(text string) (err error) { s.skip, err = parsePorts(text); return err },
	} {
		text, err := os.ReadFile(root + "/net/ipv4/" + path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = parse(string(text))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return s, nil
}

// choices yields the span's ports once each. The upper half comes first, upwards from
// behind last and round, so that requests which follow each other get consecutive
// numbers; if last is not in that half, from its beginning. Then comes the lower half,
// downwards.
//
// Docker's own allocator begins at the lower end, goes upwards, and gives up when it has
// met ten ports that others hold (portallocator, maxAllocatePortAttempts). So ports are
// taken where it comes last.
func (s *span) choices(last uint16) iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		middle := int(s.first) + (int(s.last)-int(s.first)+1)/2
		size := int(s.last) - middle + 1
		begin := 0
		if middle <= int(last) && last < s.last {
			begin = int(last) - middle + 1
		}
		for i := range size {
			if p := uint16(middle + (begin+i)%size); !s.skip.has(p) && !yield(p) {
				return
			}
		}
		for p := middle - 1; p >= int(s.first); p-- {
			if !s.skip.has(uint16(p)) && !yield(uint16(p)) {
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
