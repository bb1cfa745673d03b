package hello

import "github.com/mybr/mybr/internal/egress/hosts"

// Extensions (IANA, "TLS ExtensionType Values") that are looked into.
const (
	extName     = 0
	extALPN     = 16
	extVersions = 43
	extESNI     = 0xffce // the name encrypted, drafts before ECH
	extOuter    = 0xfd00 // ech_outer_extensions, of an inner ClientHello alone
	extECH      = 0xfe0d
)

// cursor takes a message apart. What is not there is the failure of all that follows.
type cursor struct {
	rest   []byte
	failed bool
}

func (c *cursor) bytes(n int) []byte {
	if n > len(c.rest) {
		c.failed, c.rest = true, nil
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

// number reads an integer of n bytes.
func (c *cursor) number(n int) (v int) {
	for _, b := range c.bytes(n) {
		v = v<<8 | int(b)
	}
	return v
}

// vector reads what has its length in n bytes before it.
func (c *cursor) vector(n int) cursor {
	v := cursor{rest: c.bytes(c.number(n))}
	v.failed = c.failed
	return v
}

// done says that everything was there, and nothing more.
func (c *cursor) done() bool { return !c.failed && len(c.rest) == 0 }

func (h *Hello) parse(body []byte) error {
	c := cursor{rest: body}
	legacy := uint16(c.number(2))
	c.bytes(32) // random
	session, ciphers, compressions := c.vector(1), c.vector(2), c.vector(1)
	if c.failed || len(session.rest) > 32 || len(ciphers.rest) == 0 || len(ciphers.rest)%2 != 0 || len(compressions.rest) == 0 {
		return h.refuse(DecodeError, "it is malformed")
	}
	if legacy < tls10 || legacy>>8 != 3 {
		return h.refuse(ProtocolVersion, "it is of version %d.%d", legacy>>8, legacy&0xff)
	}
	h.Version = min(legacy, tls13-1) // RFC 8446, 4.1.2: later versions are in an extension
	var extensions cursor
	if len(c.rest) > 0 { // before TLS 1.3 there may be none
		extensions = c.vector(2)
	}
	if !c.done() {
		return h.refuse(DecodeError, "it is malformed")
	}
	if err := h.extensions(extensions); err != nil {
		return err
	}
	if h.Name == "" {
		a := UnrecognizedName
		if h.Version >= tls13 {
			a = MissingExtension
		}
		return h.refuse(a, "it has no server name")
	}
	return nil
}

// extensions looks into those that matter; of the others, among them those that are there so
// that servers bear what they don't know (GREASE, RFC 8701), it wants only that they are whole
// and no type comes twice (RFC 8446, 4.2).
func (h *Hello) extensions(all cursor) error {
	seen := map[int]bool{}
	for len(all.rest) > 0 {
		kind, body := all.number(2), all.vector(2)
		if all.failed {
			return h.refuse(DecodeError, "its extensions are malformed")
		}
		if seen[kind] {
			return h.refuse(IllegalParameter, "extension %d is in it twice", kind)
		}
		seen[kind] = true
		if err := h.extension(kind, body); err != nil {
			return err
		}
	}
	return nil
}

func (h *Hello) extension(kind int, body cursor) error {
	switch kind {
	case extName:
		return h.serverName(body)
	case extALPN:
		return h.protocols(body)
	case extVersions:
		versions := body.vector(1)
		if !body.done() || len(versions.rest) == 0 || len(versions.rest)%2 != 0 {
			return h.refuse(DecodeError, "its versions are malformed")
		}
		for len(versions.rest) > 0 {
			if v := uint16(versions.number(2)); v>>8 == 3 && v <= tls13 { // others are GREASE, or unknown
				h.Version = max(h.Version, v)
			}
		}
	case extECH, extESNI, extOuter:
		return h.refuse(AccessDenied, "it is encrypted (ECH) or looks like it, and can name another server inside")
	}
	return nil
}

// serverName wants one name (RFC 6066, 3 has one kind of name, and one name of a kind).
func (h *Hello) serverName(body cursor) error {
	list := body.vector(2)
	kind, text := list.number(1), list.vector(2)
	if !body.done() || list.failed {
		return h.refuse(DecodeError, "its server name is malformed")
	}
	if kind != 0 || len(list.rest) > 0 {
		return h.refuse(IllegalParameter, "it has server names besides one of a host")
	}
	name, err := hosts.Name(string(text.rest))
	if err != nil {
		return h.refuse(IllegalParameter, "server name %q: %v", text.rest, err)
	}
	h.Name = name
	return nil
}

func (h *Hello) protocols(body cursor) error {
	list := body.vector(2)
	for len(list.rest) > 0 && !list.failed {
		p := list.vector(1)
		if len(p.rest) == 0 {
			list.failed = true
		}
		h.Protocols = append(h.Protocols, string(p.rest))
	}
	if !body.done() || list.failed || len(h.Protocols) == 0 {
		return h.refuse(DecodeError, "its protocols (ALPN) are malformed")
	}
	return nil
}
