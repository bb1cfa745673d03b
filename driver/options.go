package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Options that Docker adds by itself (libnetwork's netlabel package).
const (
	optGeneric    = "com.docker.network.generic" // what the user gave with -o, as strings
	optInternal   = "com.docker.network.internal"
	optEnableIPv4 = "com.docker.network.enable_ipv4"
	optEnableIPv6 = "com.docker.network.enable_ipv6"
	optPortMap    = "com.docker.network.portmap"
)

// Options of `docker network create -o`. All but the last have Docker's names and
// meanings (docs.docker.com, "Bridge network driver").
const (
	optBridge      = "com.docker.network.bridge.name"
	optICC         = "com.docker.network.bridge.enable_icc"
	optMasquerade  = "com.docker.network.bridge.enable_ip_masquerade"
	optHostBinding = "com.docker.network.bridge.host_binding_ipv4"
	optInhibit     = "com.docker.network.bridge.inhibit_ipv4"
	optMTU         = "com.docker.network.driver.mtu"
	optIfacePrefix = "com.docker.network.container_iface_prefix"
	optSNAT        = "com.docker.network.host_ipv4"
	optRoutes      = "mybr.routes" // comma-separated `PREFIX via ADDRESS` or `PREFIX`
)

// optIfname asks for the interface's exact name. Docker does not let a plugin choose
// more of it than its beginning.
const optIfname = "com.docker.network.endpoint.ifname"

// dockerPrefix begins the keys that Docker adds to an endpoint's options by itself.
const dockerPrefix = "com.docker.network."

// auxGateway is the name of the auxiliary address that becomes the containers'
// default gateway instead of the bridge's address.
const auxGateway = "DefaultGatewayIPv4"

// notSupported lists options that Docker's bridge driver has and mybr lacks.
func notSupported(key string) bool {
	switch key {
	case "com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6",
		"com.docker.network.bridge.trusted_host_interfaces", "com.docker.network.bridge.default_bridge",
		"com.docker.network.host_ipv6", "com.docker.network.advertise_addr_nmsgs", "com.docker.network.advertise_addr_ms":
		return true
	}
	return false
}

// netOptions is what the options of a network say.
type netOptions struct {
	Internal    bool
	Inhibit     bool // the bridge gets no address
	ICC         bool
	Masquerade  bool
	Bridge      string // "": named after the network
	MTU         int    // bytes; 0: the kernel's default
	IfacePrefix string
	HostBinding netip.Addr
	SNAT        netip.Addr
	Routes      []model.Route
}

// needsGateway reports whether the network needs an address for its gateway: for the
// bridge, or as the containers' default route.
func (o netOptions) needsGateway() bool { return !o.Internal || !o.Inhibit }

// parseNetOptions reads the options of CreateNetwork and GwAllocCheck. Of several
// faults it names the one whose key sorts first.
func parseNetOptions(opts map[string]any) (netOptions, error) {
	o := netOptions{ICC: true, Masquerade: true, IfacePrefix: "eth"}
	v4, v6 := true, false
	for _, flag := range []struct {
		key  string
		into *bool
	}{{optEnableIPv4, &v4}, {optEnableIPv6, &v6}, {optInternal, &o.Internal}} {
		if err := get(opts, flag.key, flag.into); err != nil {
			return o, err
		}
	}
	if v6 {
		return o, invalid("IPv6 is not supported yet")
	}
	if !v4 {
		return o, invalid("a network without IPv4 is not supported yet")
	}
	var user map[string]any
	if err := get(opts, optGeneric, &user); err != nil {
		return o, err
	}
	for _, key := range slices.Sorted(maps.Keys(user)) {
		if err := o.set(key, user); err != nil {
			return o, err
		}
	}
	return o, nil
}

// set reads one -o option.
func (o *netOptions) set(key string, user map[string]any) error {
	var value string
	if err := get(user, key, &value); err != nil {
		return err
	}
	if user[key] == nil {
		return nil
	}
	var err error
	switch key {
	case optBridge:
		o.Bridge, err = parseBridgeName(value)
	case optICC:
		o.ICC, err = parseBool(value)
	case optMasquerade:
		o.Masquerade, err = parseBool(value)
	case optInhibit:
		o.Inhibit, err = parseBool(value)
	case optHostBinding:
		o.HostBinding, err = parseHostIP(value)
	case optMTU:
		o.MTU, err = parseMTU(value)
	case optIfacePrefix:
		o.IfacePrefix, err = parseIfacePrefix(value)
	case optSNAT:
		o.SNAT, err = parseUnicast4(value)
	case optRoutes:
		o.Routes, err = parseRoutes(value)
	default:
		if notSupported(key) {
			return invalid("option %s is not supported", key)
		}
		return invalid("option %s is not known", key)
	}
	if err != nil {
		return invalid("option %s: %w", key, err)
	}
	return nil
}

// parseAuxGateway returns the address of auxGateway, zero if there is none. Docker
// sends it with the pool's prefix length.
func parseAuxGateway(data *network.IPAMData) (netip.Addr, error) {
	var text string
	if err := get(data.AuxAddresses, auxGateway, &text); err != nil || text == "" {
		return netip.Addr{}, err
	}
	addr, _, _ := strings.Cut(text, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || !a.Is4() {
		return netip.Addr{}, invalid("auxiliary address %s: %q is not an IPv4 address", auxGateway, text)
	}
	return a, nil
}

// checkEndpointOptions refuses what the user asked of an endpoint (driver-opts) and
// can't be done. Docker mixes its own keys with the user's.
func checkEndpointOptions(opts map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		if key == optIfname {
			return invalid("option %s: Docker does not let a plugin name the interface; "+
				"set the beginning of its name for the network, with -o %s", key, optIfacePrefix)
		}
		if !strings.HasPrefix(key, dockerPrefix) {
			return invalid("option %s is not known", key)
		}
	}
	return nil
}

// portEntry is one element of optPortMap, one for each port of the container.
type portEntry struct {
	Proto       uint8  // IP protocol number
	Port        uint16 // the container's
	HostIP      string // "": the network's default
	HostPort    uint16 // the first to choose from; 0: any
	HostPortEnd uint16 // the last; 0: only HostPort
}

// parsePortMap reads optPortMap; absent means that nothing is published.
func parsePortMap(opts map[string]any) ([]portEntry, error) {
	v := opts[optPortMap]
	if v == nil {
		return nil, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, invalid("option %s: %w", optPortMap, err)
	}
	var entries []portEntry
	err = json.Unmarshal(text, &entries)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field == "" {
		return nil, invalid("option %s: have %s, want an array of objects", optPortMap, wrong.Value)
	} else if errors.As(err, &wrong) {
		return nil, invalid("option %s: %s: have %s, want %s", optPortMap, wrong.Field, wrong.Value, describe(wrong.Type.String()))
	} else if err != nil {
		return nil, invalid("option %s: %w", optPortMap, err)
	}
	return entries, nil
}

// describe says in words what a field of portEntry takes.
func describe(goType string) string {
	switch goType {
	case "uint8":
		return "a number from 0 to 255"
	case "uint16":
		return "a number from 0 to 65535"
	}
	return "a " + goType
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
		return invalid("option %s: have %s, want %s", key, jsonType(v), jsonType(*into))
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
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("a %T", v)
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}
