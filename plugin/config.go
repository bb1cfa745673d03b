package plugin

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/backend"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/web"
	"github.com/mybr/mybr/ipam"
)

// Config is what the process works with. Every field is needed, except DirectRouting,
// Spoof, PublishAddress, PublishPolicy, AcceptMark, ResyncInterval, AddressPools, AddressQuarantine and those of HTTP.
type Config struct {
	Version    string // for logs and the operator's commands
	Name       string // of the plugin, as `docker network create -d` has it
	PluginDir  string // Docker looks for <PluginDir>/<Name>.sock
	StateDir   string // of the records
	RunDir     string // of the admin socket
	Firewall   string // one of Firewalls
	SysctlRoot string // /proc/sys, or where that is mounted

	DirectRouting  bool       // published ports can be reached at the containers' own addresses, from anywhere that has a route there
	Spoof          string     // one of model.SpoofModes: whether ports send from their own addresses alone, on networks that don't say it; "": SpoofAllow
	SpoofAsked     bool       // Spoof is what the user has said, and no default
	PublishPolicy  string     // model.PublishOpen or PublishHost: whether the host's firewall decides who reaches published ports, on networks that don't say it; "": it doesn't
	PublishAddress netip.Addr // where ports are published that name no address, on networks that name none either; zero: everywhere

	AcceptMark Mark // of packets that pass to every network; the zero value: none do

	// ResyncInterval is how often the whole host is compared with the records, and put right; 0:
	// never, and what others change is not watched for either.
	ResyncInterval time.Duration

	AddressPools      []AddressPool // nil: Docker's default ones
	AddressQuarantine time.Duration // how long a released address rests while others are free; 0: not at all

	HTTP            HTTPAddress // of the status page and the metrics; zero: they are not served
	HTTPAllowRemote bool        // HTTP can be an address that other hosts reach
	HTTPTokenFile   string      // has the token that clients of HTTP must know; "": they need none

	Log *logrus.Logger
}

// publishByHost reports whether the host's firewall decides who reaches published ports, on networks
// that don't say it.
func (c Config) publishByHost() bool { return c.PublishPolicy == model.PublishHost }

// HTTPAddress is where the status page and the metrics are served.
type HTTPAddress = web.Address

// ParseHTTPAddress reads `127.0.0.1:9180` or `unix:///run/mybr/http.sock`.
func ParseHTTPAddress(s string) (HTTPAddress, error) { return web.ParseAddress(s) }

// CheckHTTP says what is wrong with the settings of HTTP, by the flags' names.
func (c Config) CheckHTTP() error {
	switch {
	case c.HTTP.IsZero() && c.HTTPAllowRemote:
		return errors.New("--http-allow-remote: there is no --http to allow it for")
	case c.HTTP.IsZero() && c.HTTPTokenFile != "":
		return errors.New("--http-token-file: there is no --http that would want a token")
	case c.HTTP.IsZero() || c.HTTP.Local():
		return nil
	case !c.HTTPAllowRemote:
		return fmt.Errorf("--http %s: other hosts can reach it; want a loopback address, a unix socket, or --http-allow-remote", c.HTTP)
	case c.HTTPTokenFile == "":
		return fmt.Errorf("--http %s: other hosts can reach it; want --http-token-file", c.HTTP)
	}
	return nil
}

// Firewalls lists what Config.Firewall may be.
func Firewalls() []string { return backend.Kinds() }

// SpoofModes lists what Config.Spoof may be.
func SpoofModes() []string { return model.SpoofModes() }

// AddressPool is where subnets are chosen from that Docker leaves to the plugin.
type AddressPool = ipam.AddressPool

// ParseAddressPool reads `base=10.64.0.0/10,size=24`.
func ParseAddressPool(s string) (AddressPool, error) {
	pools, err := ipam.ParseAddressPools([]string{s})
	if err != nil {
		return AddressPool{}, err
	}
	return pools[0], nil
}

// DefaultQuarantine is how long a released address rests if nothing else is said.
const DefaultQuarantine = ipam.DefaultQuarantine

// ParseQuarantine reads a time such as `90s`; 0 means that addresses don't rest.
func ParseQuarantine(s string) (time.Duration, error) { return ipam.ParseQuarantine(s) }

// Mark is a firewall mark and the bits of it that count.
type Mark = firewall.Mark

// ParseMark reads `0x100` or `0x100/0xff00`, each number also decimal, as Docker's
// --bridge-accept-fwmark has it. Without a mask all bits count.
func ParseMark(s string) (Mark, error) {
	wrong := errors.New("want VALUE or VALUE/MASK, numbers of 32 bits such as 0x100/0xff00")
	text, mask, masked := strings.Cut(s, "/")
	value, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		return Mark{}, wrong
	}
	m := Mark{Value: uint32(value), Mask: math.MaxUint32}
	if masked {
		bits, err := strconv.ParseUint(mask, 0, 32)
		if err != nil || bits == 0 {
			return Mark{}, wrong
		}
		m.Mask = uint32(bits)
	}
	if m.Value&^m.Mask != 0 {
		return Mark{}, fmt.Errorf("%#x has bits outside of the mask %#x, so no packet can have it", m.Value, m.Mask)
	}
	return m, nil
}

// FormatMark is what ParseMark reads; "" for none.
func FormatMark(m Mark) string {
	switch m.Mask {
	case 0:
		return ""
	case math.MaxUint32:
		return fmt.Sprintf("%#x", m.Value)
	}
	return fmt.Sprintf("%#x/%#x", m.Value, m.Mask)
}

// ParsePublishAddress reads an address of the host, 0.0.0.0 for all of both families, or [::] for all
// of IPv6, as the option host_binding_ipv4 of a network.
func ParsePublishAddress(s string) (netip.Addr, error) { return driver.ParseHostAddress(s) }

// FormatPublishAddress is what ParsePublishAddress reads; "" for none.
func FormatPublishAddress(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
