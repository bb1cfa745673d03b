package names

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Host asks the resolvers that a resolv.conf(5) file names, one after the other, and reads
// the file again when it has changed. What it says of names (search, ndots) is for who asks,
// and not used. Its method may be called from any goroutine.
type Host struct {
	path string
	port uint16

	mu   sync.Mutex
	conf resolvConf
	seen os.FileInfo // nil: the file was not read yet, or was not there
}

// NewHost returns a Host for a file, such as /etc/resolv.conf.
func NewHost(path string) *Host { return &Host{path: path, port: 53} }

// Limits of resolv.conf(5) and of the resolver behind it (resolv.h).
const (
	maxServers  = 3
	maxTimeout  = 30
	maxAttempts = 5
)

type resolvConf struct {
	servers  []netip.Addr
	timeout  time.Duration // of one try
	attempts int
	stream   bool // use-vc: TCP alone
}

func parseResolvConf(text []byte) resolvConf {
	c := resolvConf{timeout: 5 * time.Second, attempts: 2}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(fields[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, a)
			}
		case "options":
			for _, o := range fields[1:] {
				c.option(o)
			}
		}
	}
	if len(c.servers) == 0 { // resolv.conf(5)
		c.servers = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return c
}

// option reads one of those that are about asking; others, and what is no number, the
// resolver of the C library passes over, too.
func (c *resolvConf) option(o string) {
	name, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "use-vc":
		c.stream = true
	case name == "timeout" && err == nil && n > 0:
		c.timeout = time.Duration(min(n, maxTimeout)) * time.Second
	case name == "attempts" && err == nil && n > 0:
		c.attempts = min(n, maxAttempts)
	}
}

// read is what the file says now. One that is not there says nothing (resolv.conf(5)); a link that
// leads to none is an error, for it says that there is one which this process can't see.
func (h *Host) read() (resolvConf, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, err := os.Stat(h.path)
	if _, there := os.Lstat(h.path); errors.Is(err, fs.ErrNotExist) && errors.Is(there, fs.ErrNotExist) {
		h.seen = nil
		return parseResolvConf(nil), nil
	}
	if err != nil {
		return resolvConf{}, fmt.Errorf("read the resolvers of the host: %w", err)
	}
	if h.seen != nil && os.SameFile(now, h.seen) && now.ModTime().Equal(h.seen.ModTime()) && now.Size() == h.seen.Size() {
		return h.conf, nil
	}
	text, err := os.ReadFile(h.path)
	if err != nil {
		return resolvConf{}, fmt.Errorf("read the resolvers of the host: %w", err)
	}
	h.conf, h.seen = parseResolvConf(text), now
	return h.conf, nil
}

// Exchange implements Upstream. A server that doesn't answer, or answers that it can't or
// won't, is followed by the next.
func (h *Host) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	conf, err := h.read()
	if err != nil {
		return nil, err
	}
	var unwilling []byte
	var failed []error
	for range conf.attempts {
		for _, server := range conf.servers {
			answer, err := h.try(ctx, conf, netip.AddrPortFrom(server, h.port), query)
			switch {
			case ctx.Err() != nil:
				return nil, errors.Join(append(failed, fmt.Errorf("resolver %s: %w", server, context.Cause(ctx)))...)
			case err != nil:
				failed = append(failed, fmt.Errorf("resolver %s: %w", server, err))
			case willing(answer):
				return answer, nil
			default:
				unwilling = answer
			}
		}
	}
	if unwilling != nil {
		return unwilling, nil
	}
	return nil, errors.Join(failed...)
}

func willing(answer []byte) bool {
	code := dnsmessage.RCode(answer[3] & 0xf)
	return code == dnsmessage.RCodeSuccess || code == dnsmessage.RCodeNameError
}

// try asks one server once, and again by TCP if the answer doesn't fit a datagram.
func (h *Host) try(ctx context.Context, conf resolvConf, server netip.AddrPort, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, conf.timeout)
	defer cancel()
	if !conf.stream {
		answer, err := h.udp(ctx, server, query)
		if err != nil || answer[2]&2 == 0 { // TC (RFC 1035, 4.1.1)
			return answer, err
		}
	}
	return h.tcp(ctx, server, query)
}

// dial connects, and has everything on the connection end with the context.
func dial(ctx context.Context, network string, server netip.AddrPort) (c net.Conn, end func() bool, err error) {
	var d net.Dialer
	if c, err = d.DialContext(ctx, network, server.String()); err != nil {
		return nil, nil, err
	}
	return c, context.AfterFunc(ctx, func() { c.Close() }), nil
}

func (h *Host) udp(ctx context.Context, server netip.AddrPort, query []byte) ([]byte, error) {
	c, end, err := dial(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer end()
	if _, err := c.Write(query); err != nil {
		return nil, ended(ctx, err)
	}
	buf := make([]byte, 4096) // more than was offered (EDNS)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, ended(ctx, err)
		}
		if matches(query, buf[:n]) { // others may send to the socket, too
			return bytes.Clone(buf[:n]), nil
		}
	}
}

func (h *Host) tcp(ctx context.Context, server netip.AddrPort, query []byte) ([]byte, error) {
	c, end, err := dial(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer end()
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return nil, ended(ctx, err)
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, ended(ctx, err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, ended(ctx, err)
	}
	if !matches(query, answer) {
		return nil, errors.New("the answer is to another question")
	}
	return answer, nil
}

// ended is the reason of an error that the context's end may have caused.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
