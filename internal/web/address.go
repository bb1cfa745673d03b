// Package web is what every page and metric behind HTTP has in common: where it is served,
// and who may ask.
//
// Be aware: on a loopback address every local user may ask, unless there is a token. Nothing
// is encrypted, the token neither: where others share the wire, a proxy with TLS belongs in
// front of it, or a tunnel.
package web

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// unixPrefix is what the address of a unix socket begins with, as Docker's -H has it.
const unixPrefix = "unix://"

// LongestPath is what sockaddr_un takes beside the final zero (unix(7)).
const LongestPath = 107

// Address is where to listen: one of the two. The zero value: nowhere.
type Address struct {
	TCP  netip.AddrPort
	Path string // of a unix socket
}

// ParseAddress reads `127.0.0.1:9180`, `[::1]:9180` or `unix:///run/mybr/http.sock`.
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, unixPrefix); ok {
		switch {
		case !filepath.IsAbs(path):
			return Address{}, errors.New("want an absolute path behind unix://")
		case len(path) > LongestPath:
			return Address{}, fmt.Errorf("the path has %d bytes: want at most %d", len(path), LongestPath)
		}
		return Address{Path: path}, nil
	}
	a, err := netip.ParseAddrPort(s)
	switch {
	case err != nil:
		return Address{}, errors.New("want an address and a port, such as 127.0.0.1:9180 or [::1]:9180, or unix:///PATH")
	case a.Port() == 0:
		return Address{}, errors.New("want a port from 1 to 65535")
	}
	return Address{TCP: netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}, nil
}

// String is what ParseAddress reads; "" for nowhere.
func (a Address) String() string {
	switch {
	case a.Path != "":
		return unixPrefix + a.Path
	case a.TCP.IsValid():
		return a.TCP.String()
	}
	return ""
}

// IsZero reports whether it is nowhere.
func (a Address) IsZero() bool { return a == Address{} }

// Local reports whether only processes of this host can connect.
func (a Address) Local() bool { return a.Path != "" || a.TCP.Addr().IsLoopback() }
