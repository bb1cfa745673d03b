package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// A token has so many bytes: 16 of hexadecimal digits are 64 bits, which can't be tried out
// over a network.
const (
	shortestToken = 16
	longestToken  = 1024
)

// Token is what clients must know. The zero value: nothing.
type Token struct{ sum *[sha256.Size]byte }

// ReadToken reads a token from a file that nobody but its owner can read or write. White space
// around it doesn't count.
func ReadToken(path string) (Token, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO has who opens it wait
	if err != nil {
		return Token{}, err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return Token{}, err
	case !info.Mode().IsRegular():
		return Token{}, fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o077 != 0:
		return Token{}, fmt.Errorf("%s can be used by others (mode %04o): want 0600 or 0400", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, longestToken+1))
	if err != nil {
		return Token{}, err
	}
	t, err := NewToken(strings.TrimSpace(string(text)))
	if err != nil {
		return Token{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// NewToken checks that a text can be a token: it must fit into a header as it is.
func NewToken(text string) (Token, error) {
	switch bad := func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' ' }; {
	case len(text) < shortestToken:
		return Token{}, fmt.Errorf("the token has %d bytes: want at least %d", len(text), shortestToken)
	case len(text) > longestToken:
		return Token{}, fmt.Errorf("the token has more than %d bytes", longestToken)
	case strings.ContainsFunc(text, bad):
		return Token{}, errors.New("the token has blanks or other bytes than printing ASCII")
	}
	sum := sha256.Sum256([]byte(text))
	return Token{&sum}, nil
}

// Wanted reports whether clients must know anything.
func (t Token) Wanted() bool { return t.sum != nil }

// known reports whether a request has the token: as a bearer's (RFC 6750), as programs send
// it, or as the password of any user (RFC 7617), as browsers do.
func (t Token) known(r *http.Request) bool {
	given, ok := "", false
	if scheme, rest, found := strings.Cut(r.Header.Get("Authorization"), " "); found && strings.EqualFold(scheme, "Bearer") {
		given, ok = strings.TrimSpace(rest), true
	} else {
		_, given, ok = r.BasicAuth()
	}
	// Sums are of one length, so that the time tells nothing of the token.
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], t.sum[:]) == 1 && ok
}

// Guard answers those who may ask by h, and everyone else with an error. policy is the
// Content-Security-Policy of answers that have none of their own.
//
// Without a token a browser on this host is the one that may ask, and a page of somebody
// else's in that browser must not: by a name that it has led to this address (DNS rebinding)
// it would pass for ours. So names are refused there, save localhost, which browsers don't
// look up.
func Guard(h http.Handler, a Address, t Token, policy string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		switch {
		case t.Wanted() && !t.known(r):
			header.Set("WWW-Authenticate", `Basic realm="mybr", charset="UTF-8"`)
			header.Add("WWW-Authenticate", `Bearer realm="mybr"`)
			http.Error(w, "want the token: as a bearer token, or as the password of any user", http.StatusUnauthorized)
		case !t.Wanted() && a.Path == "" && !addressed(r.Host):
			http.Error(w, "want the host's address or localhost in the URL, not another name", http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			header.Set("Allow", "GET, HEAD")
			http.Error(w, "want GET or HEAD", http.StatusMethodNotAllowed)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// addressed reports whether a Host header names no host but an address, or localhost.
func addressed(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	_, err = netip.ParseAddr(name)
	return err == nil || strings.EqualFold(name, "localhost")
}
