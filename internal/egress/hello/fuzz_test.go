package hello

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// replay is a connection that has what was read, and nothing more.
type replay struct {
	net.Conn
	io.Reader
}

func (r replay) Read(b []byte) (int, error)     { return r.Reader.Read(b) }
func (replay) Write(b []byte) (int, error)      { return len(b), nil }
func (replay) SetDeadline(time.Time) error      { return nil }
func (replay) SetReadDeadline(time.Time) error  { return nil }
func (replay) SetWriteDeadline(time.Time) error { return nil }
func (replay) Close() error                     { return nil }

// asServer is the name and the protocols that a server reads in the same bytes; ok is false
// if it reads none.
func asServer(raw []byte) (name string, protocols []string, ok bool) {
	seen := errors.New("seen")
	_ = tls.Server(replay{Reader: bytes.NewReader(raw)}, &tls.Config{
		MinVersion: tls.VersionTLS10,
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			name, protocols, ok = info.ServerName, info.SupportedProtos, true
			return nil, seen
		},
	}).Handshake()
	return name, protocols, ok
}

// What is read is what a server reads; the size of the parts in which it comes changes
// nothing; and a refusal is always a record that can be sent.
func FuzzRead(f *testing.F) {
	for _, c := range hellos {
		f.Add(c.bytes)
	}
	f.Add(greeting(f, &tls.Config{ServerName: "example.com", NextProtos: []string{"h2"}}))
	f.Add(records(greeting(f, &tls.Config{ServerName: "example.com"}), 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Read(bytes.NewReader(b))
		slow, slowErr := Read(iotest.OneByteReader(bytes.NewReader(b)))
		if (err == nil) != (slowErr == nil) || h.Name != slow.Name || !bytes.Equal(h.Raw, slow.Raw) {
			t.Fatalf("at once %+v, %v; by bytes %+v, %v", h, err, slow, slowErr)
		}
		var refusal *Refusal
		if errors.As(err, &refusal) {
			if r := refusal.Record(); len(r) != 7 || r[0] != 21 || r[1] != 3 || r[5] != 2 || refusal.Reason == "" {
				t.Fatalf("%v: %x", err, r)
			}
		}
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, h.Raw) {
			t.Fatalf("%x is sent on for %x", h.Raw, b)
		}
		if n, err := hosts.Name(h.Name); err != nil || n != h.Name {
			t.Fatalf("%q is no name: %v", h.Name, err)
		}
		if name, protocols, ok := asServer(h.Raw); ok {
			if n, err := hosts.Name(name); err != nil || n != h.Name || !slices.Equal(protocols, h.Protocols) {
				t.Fatalf("read %q %q, a server %q %q", h.Name, h.Protocols, name, protocols)
			}
		}
	})
}

// The comparison means something only if the server reads what clients send.
func TestServerReadsTheSame(t *testing.T) {
	for _, b := range [][]byte{greeting(t, &tls.Config{ServerName: "example.com"}), with(func(*made) {})} {
		if name, _, ok := asServer(b); !ok || name != "example.com" {
			t.Errorf("a server reads %q, %t", name, ok)
		}
	}
}
