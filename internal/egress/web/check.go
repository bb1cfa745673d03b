package web

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// maxHead is how long a request's line and header may be, in bytes: as much as nginx takes
// (large_client_header_buffers, 4 of 8 KiB). Each connection has a buffer of this size.
const maxHead = 32 << 10

// head is what must be known of a request's line and header as it was sent.
type head struct {
	host string // the field's value
	has  bool   // it has the field
}

// check refuses the line and header of a request, with the empty line at its end, that readers
// could understand in different ways (RFC 9112, 11.2): that end lines in another way than by
// CR LF, go on with a line, have a length twice or in two ways, or two hosts.
func check(b []byte) (h head, err error) {
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\r\n\r\n")), []byte("\r\n"))
	old, err := requestLine(string(lines[0]))
	if err != nil {
		return head{}, err
	}
	var length, encoding bool
	for _, line := range lines[1:] {
		name, value, err := field(line)
		if err != nil {
			return head{}, err
		}
		switch strings.ToLower(name) {
		case "host":
			if h.has {
				return head{}, errors.New("it has two Host fields")
			}
			h.host, h.has = value, true
		case "content-length":
			if _, err := strconv.ParseUint(value, 10, 63); length || err != nil {
				return head{}, errors.New("its Content-Length is not one number")
			}
			length = true
		case "transfer-encoding":
			if encoding || old || !strings.EqualFold(value, "chunked") {
				return head{}, errors.New("its Transfer-Encoding is not chunked alone, of HTTP/1.1")
			}
			encoding = true
		}
	}
	if length && encoding {
		return head{}, errors.New("it has both Content-Length and Transfer-Encoding")
	}
	return h, nil
}

// requestLine checks the first line; old says that it is of HTTP/1.0.
func requestLine(line string) (old bool, err error) {
	parts := strings.Split(line, " ")
	if len(parts) == 3 && parts[2] == "HTTP/2.0" {
		return false, errors.New("it is of HTTP/2, which is served within TLS only")
	}
	if len(parts) != 3 || !token(parts[0]) || parts[1] == "" || parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0" {
		return false, errors.New("its first line is not a request of HTTP/1.0 or 1.1")
	}
	for _, c := range []byte(parts[1]) {
		if c <= ' ' || c >= 0x7f {
			return false, fmt.Errorf("its target has the character %q", c)
		}
	}
	if strings.Contains(parts[1], "#") {
		return false, errors.New("its target has a fragment")
	}
	return parts[2] == "HTTP/1.0", nil
}

func field(line []byte) (name, value string, err error) {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return "", "", errors.New("a line of its header goes on with the one before (obs-fold)")
	}
	name, value, ok := strings.Cut(string(line), ":")
	if !ok || !token(name) {
		return "", "", fmt.Errorf("%q is not the name of a header field", name)
	}
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", "", fmt.Errorf("header field %s has the character %q", name, c)
		}
	}
	return name, strings.Trim(value, " \t"), nil
}

// token is what names are made of (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != ""
}

// bareLine says that a line ends without CR, or a CR is not the end of one, at a place behind
// from. A CR that is the last byte may still become one.
func bareLine(b []byte, from int) bool {
	for i := from; i < len(b); i++ {
		if b[i] == '\n' && (i == 0 || b[i-1] != '\r') || b[i] == '\r' && i+1 < len(b) && b[i+1] != '\n' {
			return true
		}
	}
	return false
}

// named is the host that a request is for, which must be the same wherever the request names
// one, and with the port that the client has connected to.
func named(r *http.Request, h head, port uint16) (string, error) {
	if r.Method == http.MethodConnect {
		return "", errors.New("CONNECT is for proxies")
	}
	if !h.has {
		return "", errors.New("it has no Host field")
	}
	name, err := origin(h.host, port)
	if err != nil {
		return "", fmt.Errorf("its Host is %q: %w", h.host, err)
	}
	if r.URL.IsAbs() || r.URL.Host != "" {
		target, err := origin(r.URL.Host, port)
		if r.URL.Scheme != "http" || r.URL.User != nil || err != nil || target != name {
			return "", fmt.Errorf("its target %q is not of its Host", r.URL.Redacted())
		}
	}
	return name, nil
}

// origin is the name of HOST or HOST:PORT.
func origin(host string, want uint16) (string, error) {
	if strings.Contains(host, ":") {
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			return "", errors.New("it is not HOST or HOST:PORT")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || uint16(n) != want {
			return "", fmt.Errorf("port %q is not the one that was connected to, %d", port, want)
		}
		host = name
	}
	return hosts.Name(host)
}
