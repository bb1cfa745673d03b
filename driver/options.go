package driver

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Options that Docker adds by itself (libnetwork's netlabel package). Those that end with
// _ipv have a key for each family.
const (
	optGeneric   = "com.docker.network.generic" // what the user gave with -o, as strings
	optInternal  = "com.docker.network.internal"
	optEnable    = "com.docker.network.enable_"
	optPortMap   = "com.docker.network.portmap"
	optNoProxy64 = "com.docker.network.driver.private.no_proxy_6to4"
)

// Options of `docker network create -o`. All but the last have Docker's names and
// meanings (docs.docker.com, "Bridge network driver"); those that end with _ have a key
// for each family.
const (
	optBridge      = "com.docker.network.bridge.name"
	optICC         = "com.docker.network.bridge.enable_icc"
	optMasquerade  = "com.docker.network.bridge.enable_ip_masquerade"
	optHostBinding = "com.docker.network.bridge.host_binding_ipv4" // takes IPv6 addresses too
	optInhibit     = "com.docker.network.bridge.inhibit_ipv4"
	optMode        = "com.docker.network.bridge.gateway_mode_"
	optTrusted     = "com.docker.network.bridge.trusted_host_interfaces"
	optMTU         = "com.docker.network.driver.mtu"
	optIfacePrefix = "com.docker.network.container_iface_prefix"
	optSNAT        = "com.docker.network.host_"
	optRoutes      = "mybr.routes" // comma-separated `PREFIX via ADDRESS` or `PREFIX`
)

// How often and how far apart the addresses of a new interface are announced. mybr announces
// them once; Engines from 28 on do it as well, for every driver, by default three times and
// 1000 ms apart.
const (
	optAdvertiseCount    = "com.docker.network.advertise_addr_nmsgs"
	optAdvertiseInterval = "com.docker.network.advertise_addr_ms"
)

// optDefaultBridge marks docker0, which is no plugin's.
const optDefaultBridge = "com.docker.network.bridge.default_bridge"

// optIfname asks for the interface's exact name. Engines from 28 on pass it to the plugin,
// but take no more than the beginning of a name from its answer.
const optIfname = "com.docker.network.endpoint.ifname"

// dockerPrefix begins the keys that Docker adds to an endpoint's options by itself.
const dockerPrefix = "com.docker.network."

// netOptions is what the options of a network say.
type netOptions struct {
	Internal    bool
	Inhibit     bool // the bridge gets no IPv4 address
	ICC         bool
	Masquerade  bool
	Bridge      string // "": named after the network
	MTU         int    // bytes; 0: the kernel's default
	IfacePrefix string
	HostBinding netip.Addr
	NoAnnounce  bool
	Trusted     []string // sorted
	Routes      []model.Route
	From        []model.Limit
	Policy      string // of published ports
	Egress      string // as it is recorded
	EgressMode  string // likewise
	Spoof       model.Spoof
	ICCList     string           // as it is recorded
	Families    [2]familyOptions // by family

	since28 bool // the engine is of version 28 or newer
}

// familyOptions is what the options say of one family. Of one that is off they must be
// right too.
type familyOptions struct {
	On   bool
	Mode model.Mode
	SNAT netip.Addr
}

// bare reports whether the bridge has no address of the family.
func (o netOptions) bare(f model.Family) bool {
	return f == model.IPv4 && o.Inhibit || o.Families[f].Mode == model.ModeIsolated
}

// needsGateway reports whether the network needs an address for its gateway: for the
// bridge, or as the containers' default route.
func (o netOptions) needsGateway(f model.Family) bool { return !o.Internal || !o.bare(f) }

// parseNetOptions reads the options of CreateNetwork and GwAllocCheck. Of several
// faults it names the one whose key sorts first.
func parseNetOptions(opts map[string]any) (netOptions, error) {
	o := netOptions{ICC: true, Masquerade: true, IfacePrefix: "eth"}
	o.Families[model.IPv4].On = true // engines before 28 don't say so
	_, o.since28 = opts[enableKey(model.IPv4)]
	for _, flag := range []struct {
		key  string
		into *bool
	}{{enableKey(model.IPv4), &o.Families[model.IPv4].On}, {enableKey(model.IPv6), &o.Families[model.IPv6].On}, {optInternal, &o.Internal}} {
		if err := get(opts, flag.key, flag.into); err != nil {
			return o, err
		}
	}
	if !o.Families[model.IPv4].On && !o.Families[model.IPv6].On {
		return o, model.Invalid("IPv4 or IPv6 must be enabled")
	}
	var user map[string]any
	if err := get(opts, optGeneric, &user); err != nil {
		return o, err
	}
	for _, key := range slices.Sorted(maps.Keys(user)) {
		if isLimit(key) || key == optPolicy || isEgress(key) || key == optICCList || isSpoof(key) {
			continue
		}
		if err := o.set(key, user); err != nil {
			return o, err
		}
	}
	var err error
	if o.From, err = parseLimits(user); err != nil {
		return o, err
	}
	if o.Policy, err = policyOption(user); err != nil {
		return o, err
	}
	if o.Egress, err = egressOption(user); err != nil {
		return o, err
	}
	if o.EgressMode, err = egressModeOption(user); err != nil {
		return o, err
	}
	if err := checkEgressMode(model.Network{Egress: o.Egress, EgressMode: o.EgressMode}, model.Endpoint{}); err != nil {
		return o, err
	}
	if o.Spoof, err = parseSpoof(user, false); err != nil {
		return o, err
	}
	if err := o.setICC(user); err != nil {
		return o, err
	}
	for _, f := range model.Families() {
		if o.Families[f].Mode == model.ModeIsolated && !o.Internal {
			return o, model.Invalid("option %s: gateway mode 'isolated' can only be used for an internal network", modeKey(f))
		}
	}
	return o, nil
}

// set reads one -o option. A value that can't be read is named in Docker's words.
func (o *netOptions) set(key string, user map[string]any) error {
	var value string
	if err := get(user, key, &value); err != nil {
		return err
	}
	if user[key] == nil {
		return nil
	}
	read, err := o.option(key)
	if err != nil {
		return err
	}
	err = read(value)
	if model.IsKind(err) {
		return err
	} else if err != nil {
		return model.Invalid("failed to parse %s value: %s %w", key, quoted(value), err)
	}
	return nil
}

// option returns what reads the value of an -o option.
func (o *netOptions) option(key string) (func(string) error, error) {
	switch key {
	case optBridge:
		return into(&o.Bridge, parseBridgeName), nil
	case optICC:
		return into(&o.ICC, parseBool), nil
	case optMasquerade:
		return into(&o.Masquerade, parseBool), nil
	case optInhibit:
		return into(&o.Inhibit, parseBool), nil
	case optHostBinding:
		return into(&o.HostBinding, parseHostIP), nil
	case optTrusted:
		return into(&o.Trusted, parseTrusted), nil
	case optMTU:
		return into(&o.MTU, parseMTU), nil
	case optIfacePrefix:
		return into(&o.IfacePrefix, parseIfacePrefix), nil
	case optRoutes:
		return into(&o.Routes, parseRoutes), nil
	case optAdvertiseCount:
		return o.advertiseCount, nil
	case optAdvertiseInterval:
		return o.advertiseInterval, nil
	case optDefaultBridge:
		return refuse(key, true, true, "only docker0 is Docker's default bridge, which a plugin can't provide: leave it out"), nil
	case optInternal:
		return refuse(key, true, !o.Internal, "Docker Engine does not look at it: create the network with --internal"), nil
	case enableKey(model.IPv4):
		return refuse(key, false, !o.since28, "Docker Engine can't create a network without IPv4 before version 28"), nil
	case enableKey(model.IPv6):
		return refuse(key, true, !o.since28 && !o.Families[model.IPv6].On, "this Docker Engine does not look at it: create the network with --ipv6"), nil
	}
	for _, f := range model.Families() {
		switch key {
		case modeKey(f):
			return into(&o.Families[f].Mode, parseMode), nil
		case snatKey(f):
			return into(&o.Families[f].SNAT, func(s string) (netip.Addr, error) { return parseSource(f, s) }), nil
		}
	}
	return nil, model.Invalid("option %s is not known%s", quoted(key), meant(key))
}

// into makes a function that reads a value and stores it.
func into[T any](v *T, parse func(string) (T, error)) func(string) error {
	return func(s string) (err error) {
		*v, err = parse(s)
		return err
	}
}

// advertiseCount reads how often addresses are announced.
func (o *netOptions) advertiseCount(s string) error {
	n, err := parseAdvertise(optAdvertiseCount, s, "an integer", 0, 3)
	if err == nil && n == 2 && !o.since28 {
		return model.Invalid("option %s: %d: addresses are announced once before Docker Engine 28: want 0 or 1", optAdvertiseCount, n)
	}
	o.NoAnnounce = n == 0
	return err
}

// advertiseInterval reads how far apart addresses are announced.
func (o *netOptions) advertiseInterval(s string) error {
	n, err := parseAdvertise(optAdvertiseInterval, s, "integer milliseconds", 100, 2000)
	if err == nil && n != 1000 && !o.since28 {
		return model.Invalid("option %s: %d: addresses are announced once before Docker Engine 28: leave it out", optAdvertiseInterval, n)
	}
	return err
}

// parseEndpointOptions reads what the user asked of an endpoint (driver-opts), and refuses what
// can't be done: who reaches its ports, and what it may begin connections to. Docker mixes its own
// keys with the user's.
func parseEndpointOptions(opts map[string]any) (limits []model.Limit, egress string, err error) {
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		if key == optIfname && (opts[key] == nil || opts[key] == "") {
			continue
		} else if key == optIfname {
			return nil, "", model.Invalid("option %s: Docker does not let a plugin name the interface; "+
				"set the beginning of its name for the network, with -o %s", key, optIfacePrefix)
		}
		if !strings.HasPrefix(key, dockerPrefix) && !isLimit(key) && key != optPolicy && !isEgress(key) && key != optGroup && !isSpoof(key) {
			return nil, "", model.Invalid("option %s is not known", quoted(key))
		}
	}
	if _, err := parsePortMap(opts); err != nil {
		return nil, "", err
	}
	if limits, err = parseLimits(opts); err != nil {
		return nil, "", err
	}
	egress, err = egressOption(opts)
	return limits, egress, err
}

// get reads the value of key, which must be of the JSON type of into; absent and null
// leave into alone.
func get[T string | bool | map[string]any](opts map[string]any, key string, into *T) error {
	v, ok := opts[key]
	if !ok || v == nil {
		return nil
	}
	t, ok := v.(T)
	if !ok {
		return model.Invalid("option %s: have %s, want %s", key, jsonType(v), jsonType(*into))
	}
	*into = t
	return nil
}

// jsonType names the JSON type of a decoded value.
func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case float64, json.Number:
		return "a number"
	case []any, json.RawMessage: // plugin leaves what is long as it is written
		return "an array"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("a %T", v)
}
