package hello

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// capture is a connection of which the first write is kept.
type capture struct {
	net.Conn
	first []byte
}

var errCaptured = errors.New("captured")

func (c *capture) Write(b []byte) (int, error) {
	c.first = bytes.Clone(b)
	return 0, errCaptured
}

// greeting is what crypto/tls sends first.
func greeting(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	c := &capture{}
	if err := tls.Client(c, cfg).Handshake(); !errors.Is(err, errCaptured) {
		t.Fatal(err)
	}
	return c.first
}

func TestRealClients(t *testing.T) {
	for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			b := greeting(t, &tls.Config{ServerName: "API.Example.com", NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS10, MaxVersion: version})
			after := []byte("what follows is not read")
			// Segments of TCP have any size.
			for _, r := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b)), iotest.HalfReader(bytes.NewReader(b))} {
				in := io.MultiReader(r, bytes.NewReader(after))
				h, err := Read(in)
				if err != nil {
					t.Fatal(err)
				}
				if h.Name != "api.example.com" || !slices.Equal(h.Protocols, []string{"h2", "http/1.1"}) || h.Version != version || !bytes.Equal(h.Raw, b) {
					t.Errorf("read %q %q %s, and %d of %d bytes", h.Name, h.Protocols, tls.VersionName(h.Version), len(h.Raw), len(b))
				}
				if rest, _ := io.ReadAll(in); !bytes.Equal(rest, after) {
					t.Errorf("left %q", rest)
				}
			}
		})
	}
}

// records divides a message that is in one record.
func records(record []byte, size int) (all []byte) {
	for part := range slices.Chunk(record[headerSize:], size) {
		all = append(append(all, record[0], record[1], record[2], byte(len(part)>>8), byte(len(part))), part...)
	}
	return all
}

func TestFragments(t *testing.T) {
	whole := greeting(t, &tls.Config{ServerName: "example.com"})
	for _, size := range []int{1, 3, 4, 5, 100, len(whole)} {
		b := records(whole, size)
		h, err := Read(iotest.HalfReader(bytes.NewReader(b)))
		if err != nil || h.Name != "example.com" || !bytes.Equal(h.Raw, b) {
			t.Errorf("in records of %d bytes: %+v, %v", size, h, err)
		}
		if size < 100 {
			continue
		}
		for cut := range len(b) {
			_, err := Read(bytes.NewReader(b[:cut]))
			want := io.ErrUnexpectedEOF
			if cut == 0 {
				want = io.EOF
			}
			if !errors.Is(err, want) {
				t.Fatalf("in records of %d bytes, the first %d: %v", size, cut, err)
			}
		}
	}
}

// made is a hello that is made by hand.
type made struct {
	record, kind []byte // the record's type and version, the message's type
	version      []byte
	session      []byte
	ciphers      []byte
	compressions []byte
	extensions   []byte // nil: none
	after        []byte // more in the message
}

func vec(n int, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	head := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}
	return append(head[3-n:], body...)
}

func ext(kind uint16, body []byte) []byte {
	return append([]byte{byte(kind >> 8), byte(kind)}, vec(2, body)...)
}

func sni(name string) []byte { return ext(0, vec(2, []byte{0}, vec(2, []byte(name)))) }

func (m made) message() []byte {
	parts := [][]byte{m.version, make([]byte, 32), vec(1, m.session), vec(2, m.ciphers), vec(1, m.compressions)}
	if m.extensions != nil {
		parts = append(parts, vec(2, m.extensions))
	}
	return append(m.kind, vec(3, append(parts, m.after)...)...)
}

func (m made) bytes() []byte {
	return append(slices.Clone(m.record), vec(2, m.message())...)
}

// with is a good hello, changed.
func with(change func(*made)) []byte {
	m := made{record: []byte{22, 3, 1}, kind: []byte{1}, version: []byte{3, 3}, ciphers: []byte{0x13, 1}, compressions: []byte{0}, extensions: sni("example.com")}
	change(&m)
	return m.bytes()
}

func withExtensions(all ...[]byte) []byte {
	return with(func(m *made) { m.extensions = bytes.Join(all, nil) })
}

var versions13 = ext(43, []byte{4, 3, 4, 3, 3})

// hellos are read, or refused with an alert.
var hellos = []struct {
	what  string
	bytes []byte
	alert Alert // 0: it is read
}{
	{"a good one", with(func(*made) {}), 0},
	{"one with GREASE", withExtensions(ext(0x0a0a, nil), sni("example.com"), ext(43, []byte{6, 0x3a, 0x3a, 3, 4, 3, 3}), ext(0xfafa, []byte{0})), 0},
	{"one with early data to come", withExtensions(sni("example.com"), ext(42, nil)), 0},
	{"a record of a later minor version", with(func(m *made) { m.record[2] = 9 }), 0},
	{"no extensions", with(func(m *made) { m.extensions = nil }), UnrecognizedName},
	{"no name", withExtensions(ext(23, nil)), UnrecognizedName},
	{"no name in TLS 1.3", withExtensions(versions13), MissingExtension},
	{"ECH", withExtensions(sni("example.com"), ext(0xfe0d, make([]byte, 100))), AccessDenied},
	{"ECH before the name", withExtensions(ext(0xfe0d, []byte{1}), sni("example.com")), AccessDenied},
	{"ESNI", withExtensions(sni("example.com"), ext(0xffce, nil)), AccessDenied},
	{"two names", withExtensions(ext(0, vec(2, []byte{0}, vec(2, []byte("a.example")), []byte{0}, vec(2, []byte("b.example"))))), IllegalParameter},
	{"a name of another kind", withExtensions(ext(0, vec(2, []byte{1}, vec(2, []byte("a.example"))))), IllegalParameter},
	{"two extensions with names", withExtensions(sni("example.com"), sni("example.com")), IllegalParameter},
	{"GREASE twice", withExtensions(sni("example.com"), ext(0x0a0a, nil), ext(0x0a0a, nil)), IllegalParameter},
	{"a dot at the end", withExtensions(sni("example.com.")), IllegalParameter},
	{"an IPv4 address", withExtensions(sni("192.0.2.1")), IllegalParameter},
	{"an IPv6 address", withExtensions(sni("2001:db8::1")), IllegalParameter},
	{"a NUL", withExtensions(sni("example.com\x00.evil.example")), IllegalParameter},
	{"UTF-8", withExtensions(sni("bücher.example")), IllegalParameter},
	{"an empty name", withExtensions(sni("")), IllegalParameter},
	{"an empty list of names", withExtensions(ext(0, vec(2))), DecodeError},
	{"an empty extension of names", withExtensions(ext(0, nil)), DecodeError},
	{"more behind the names", withExtensions(ext(0, append(vec(2, []byte{0}, vec(2, []byte("a.example"))), 0))), DecodeError},
	{"no protocol", withExtensions(sni("example.com"), ext(16, vec(2))), DecodeError},
	{"an empty protocol", withExtensions(sni("example.com"), ext(16, vec(2, vec(1)))), DecodeError},
	{"half a version", withExtensions(sni("example.com"), ext(43, vec(1, []byte{3}))), DecodeError},
	{"an extension that is longer than all", withExtensions([]byte{0, 9, 0, 9}), DecodeError},
	{"half an extension", withExtensions([]byte{0, 9, 0}), DecodeError},
	{"more behind the extensions", with(func(m *made) { m.after = []byte{0} }), DecodeError},
	{"a long session", with(func(m *made) { m.session = make([]byte, 33) }), DecodeError},
	{"no cipher", with(func(m *made) { m.ciphers = nil }), DecodeError},
	{"half a cipher", with(func(m *made) { m.ciphers = []byte{1} }), DecodeError},
	{"no compression", with(func(m *made) { m.compressions = nil }), DecodeError},
	{"SSL 3.0", with(func(m *made) { m.version = []byte{3, 0} }), ProtocolVersion},
	{"a later major version", with(func(m *made) { m.version = []byte{4, 0} }), ProtocolVersion},
	{"another major version of the record", with(func(m *made) { m.record[1] = 2 }), ProtocolVersion},
	{"SSL 2.0", []byte{0x80, 0x2e, 1, 3, 1, 0, 0}, ProtocolVersion},
	{"an alert", []byte{21, 3, 1, 0, 2, 2, 40}, UnexpectedMessage},
	{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), UnexpectedMessage},
	{"a ServerHello", with(func(m *made) { m.kind = []byte{2} }), UnexpectedMessage},
	{"an empty record", []byte{22, 3, 1, 0, 0}, UnexpectedMessage},
	{"a long record", append([]byte{22, 3, 1, 0x40, 1}, make([]byte, 1<<14+1)...), RecordOverflow},
	{"a long message", []byte{22, 3, 1, 0, 4, 1, 1, 0, 0}, DecodeError},
	{"a second message in the record", func() []byte {
		b := with(func(*made) {})
		return append(b[:3:3], vec(2, b[headerSize:], []byte{1, 0, 0, 0})...)
	}(), UnexpectedMessage},
	{"another record within the message", func() []byte {
		b := records(with(func(*made) {}), 20)
		b[headerSize+20] = 23
		return b
	}(), UnexpectedMessage},
	{"the longest message", with(func(m *made) {
		m.extensions = append(sni("example.com"), ext(21, make([]byte, 16000))...)
	}), 0},
}

func TestHellos(t *testing.T) {
	for _, c := range hellos {
		h, err := Read(bytes.NewReader(c.bytes))
		var refusal *Refusal
		switch {
		case c.alert == 0:
			if err != nil || h.Name != "example.com" {
				t.Errorf("%s: %q, %v", c.what, h.Name, err)
			}
		case !errors.As(err, &refusal) || refusal.Alert != c.alert:
			t.Errorf("%s: %v, want %s", c.what, err, c.alert)
		case refusal.Record()[1] != 3 || refusal.Record()[2] < 1 || refusal.Record()[2] > 3:
			t.Errorf("%s is answered by %x", c.what, refusal.Record())
		}
	}
}

// What is read before a client is known is bounded, however it is divided.
func TestBounds(t *testing.T) {
	big := with(func(m *made) { m.extensions = nil })
	message := append([]byte{1, 0, (MaxMessage - 4) >> 8, (MaxMessage - 4) & 0xff}, make([]byte, MaxMessage-4)...)
	for _, size := range []int{1, 2, 1 << 14} {
		r := bytes.NewReader(records(append(big[:headerSize:headerSize], message...), size))
		all := r.Len()
		_, err := Read(r)
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Alert != DecodeError {
			t.Errorf("in records of %d: %v", size, err)
		}
		if read := all - r.Len(); read > maxRead+headerSize {
			t.Errorf("in records of %d: read %d", size, read)
		}
	}
}

// Clients that send as much as they can and no end of it cost little memory each: one has hundreds
// of connections.
func TestMemoryOfWhoWaits(t *testing.T) {
	const clients, each = 64, 64 << 10
	for _, size := range []int{6, 1 << 14} {
		message := append([]byte{1, 0, (MaxMessage - 4) >> 8, (MaxMessage - 4) & 0xff}, make([]byte, MaxMessage-4)...)
		all := records(append([]byte{22, 3, 1, 0, 0}, message...), size)
		before := inUse()
		var held atomic.Int64
		end := make(chan struct{})
		var busy sync.WaitGroup
		for range clients {
			busy.Go(func() {
				r := &waiting{rest: all[:len(all)-1], held: &held, end: end}
				if _, err := Read(r); err == nil {
					t.Error("it has no end, and was read")
				}
				held.Add(1) // it is not waited for any more
				<-end
			})
		}
		for deadline := time.Now().Add(10 * time.Second); held.Load() < clients; {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d have read everything", held.Load(), clients)
			}
			runtime.Gosched()
		}
		used := inUse() - before
		close(end)
		busy.Wait()
		if used > clients*each {
			t.Errorf("in records of %d bytes, %d clients cost %d KiB each, want %d at most", size, clients, used/clients>>10, each>>10)
		}
	}
}

// inUse is the bytes of the heap that are in use.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// waiting reads something, and then waits.
type waiting struct {
	rest []byte
	held *atomic.Int64
	end  chan struct{}
}

func (h *waiting) Read(p []byte) (int, error) {
	if len(h.rest) == 0 {
		h.held.Add(1)
		<-h.end
		return 0, io.EOF
	}
	n := copy(p, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

// A client is told by an alert that it understands.
func TestClientUnderstandsTheAlert(t *testing.T) {
	for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			h, err := From(server, time.Now().Add(10*time.Second))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := server.Write(h.Refuse("not listed").Record()); err != nil {
				t.Error(err)
			}
		}()
		err := tls.Client(client, &tls.Config{ServerName: "example.com", MinVersion: version, MaxVersion: version}).Handshake()
		if err == nil || !strings.Contains(err.Error(), "access denied") {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		client.Close()
	}
}

func TestDeadline(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go client.Write([]byte{22, 3, 1})
	_, err := From(server, time.Now().Add(20*time.Millisecond))
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Alert != UserCanceled {
		t.Errorf("%v", err)
	}
}
