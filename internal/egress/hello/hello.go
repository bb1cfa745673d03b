// Package hello reads the first message of a TLS connection, the ClientHello, in which the
// client names the server that it wants, and keeps the bytes so that they can be sent on.
//
// It reads TLS 1.0 to 1.3 (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2) and is stricter than servers
// are: what two readers could understand in two ways is refused. crypto/tls reads the same
// message and would show it (Config.GetConfigForClient), but it wants a connection to answer
// on, doesn't keep the bytes, and accepts what hides the name.
//
// Be aware: a name says which server the client asks for, not which it gets: whoever uses it
// must connect to an address of that name. And an encrypted ClientHello (RFC 9849) can't be
// told from what browsers send so that all look alike (GREASE ECH): both are refused, or a
// server that several sites share would serve one that is not listed.
package hello

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Limits of what is read before anything is known of the client, which may send it slowly on as
// many connections as it has. RFC 8446 lets a handshake message have 2^24 bytes; what clients send
// has less than 2 KiB, and with the keys of post-quantum groups, which have some KiB each, less
// than 16, which is what nginx reads of one (preread_buffer_size).
const (
	MaxMessage = 16 << 10       // bytes of the message, in as many records as it takes
	maxRead    = 2 * MaxMessage // bytes with the headers of the records
	maxRecord  = 1 << 14        // bytes of a record (RFC 8446, 5.1)
	headerSize = 5              // of a record: type, version, length
	handshake  = 22             // the record's type
	clientHi   = 1              // the message's type
	tls10      = uint16(0x0301) // the least that is read: SSL 3.0 has no names
	tls13      = uint16(0x0304)
)

// Hello is what a client has asked for.
type Hello struct {
	Name      string   // as hosts.Name returns it; never empty
	Protocols []string // what ALPN offers (RFC 7301), in the client's order; nil: nothing
	Version   uint16   // the highest that the client offers, such as tls.VersionTLS13
	Raw       []byte   // everything that was read: whole records, and the message ends the last
}

// Refusal is the error for a client that is not served, and what it is told.
type Refusal struct {
	Alert  Alert
	Reason string // for the operator
	raw    []byte
}

func (r *Refusal) Error() string { return "TLS ClientHello refused: " + r.Reason }

// Record is what is sent to the client before its connection is closed: a fatal alert in the
// version of the record that the client sent, which each version's clients read.
func (r *Refusal) Record() []byte {
	version := tls10
	if len(r.raw) >= 3 && r.raw[1] == 3 && r.raw[2] <= 3 {
		version = max(version, uint16(r.raw[1])<<8|uint16(r.raw[2]))
	}
	return r.Alert.Record(version)
}

// Refuse is what is answered to a client whose hello was read, and whose server is not
// allowed.
func (h Hello) Refuse(reason string) *Refusal {
	return &Refusal{Alert: AccessDenied, Reason: reason, raw: h.Raw}
}

// Read reads a ClientHello, and not a byte more than the records that it is in. It reads
// until the message is whole: the caller bounds the time, or uses From.
//
// Errors: *Refusal for what can't be served; what the reader says, io.ErrUnexpectedEOF where
// the stream ends first.
func Read(r io.Reader) (Hello, error) {
	h := Hello{Raw: make([]byte, 0, 1024)}
	var message []byte
	for {
		fragment, err := h.record(r)
		if err != nil {
			return Hello{}, err
		}
		message = append(message, fragment...)
		if message[0] != clientHi {
			return Hello{}, h.refuse(UnexpectedMessage, "the first message is of type %d, not a ClientHello", message[0])
		}
		if len(message) < 4 {
			continue
		}
		size := 4 + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
		switch {
		case size > MaxMessage:
			return Hello{}, h.refuse(DecodeError, "it has %d bytes, of %d at most", size, MaxMessage)
		case len(message) > size:
			return Hello{}, h.refuse(UnexpectedMessage, "another message follows it in its record")
		case len(message) == size:
			if err := h.parse(message[4:]); err != nil {
				return Hello{}, err
			}
			return h, nil
		}
	}
}

// From is Read with a time at which it ends. The connection is left without a read deadline.
func From(c net.Conn, until time.Time) (Hello, error) {
	if err := c.SetReadDeadline(until); err != nil {
		return Hello{}, fmt.Errorf("set the deadline of a ClientHello: %w", err)
	}
	h, err := Read(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &Refusal{Alert: UserCanceled, Reason: "it did not come in time"}
	}
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return Hello{}, err
	}
	return h, nil
}

// record reads one record and returns what it carries. The slice is part of h.Raw.
func (h *Hello) record(r io.Reader) ([]byte, error) {
	head, err := h.take(r, headerSize)
	if err != nil {
		return nil, err
	}
	size := int(head[3])<<8 | int(head[4])
	switch {
	case head[0]&0x80 != 0 && head[2] == clientHi:
		return nil, h.refuse(ProtocolVersion, "it has the form of SSL 2.0")
	case head[0] != handshake:
		return nil, h.refuse(UnexpectedMessage, "a record of type %d, not of a handshake", head[0])
	case head[1] != 3:
		return nil, h.refuse(ProtocolVersion, "a record of version %d.%d", head[1], head[2])
	case size == 0: // RFC 8446, 5.1 forbids it
		return nil, h.refuse(UnexpectedMessage, "an empty record")
	case size > maxRecord:
		return nil, h.refuse(RecordOverflow, "a record of %d bytes, of %d at most", size, maxRecord)
	case len(h.Raw)+size > maxRead:
		return nil, h.refuse(DecodeError, "its records have more than %d bytes", maxRead)
	}
	return h.take(r, size)
}

// take reads n bytes to the end of h.Raw.
func (h *Hello) take(r io.Reader, n int) ([]byte, error) {
	at := len(h.Raw)
	h.Raw = append(h.Raw, make([]byte, n)...)
	m, err := io.ReadFull(r, h.Raw[at:])
	h.Raw = h.Raw[:at+m]
	if err == io.EOF && at > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read a ClientHello: %w", err)
	}
	return h.Raw[at:], nil
}

func (h *Hello) refuse(a Alert, format string, args ...any) *Refusal {
	return &Refusal{Alert: a, Reason: fmt.Sprintf(format, args...), raw: h.Raw}
}
