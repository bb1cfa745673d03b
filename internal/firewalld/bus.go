package firewalld

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/godbus/dbus/v5"

	"github.com/mybr/mybr/internal/fault"
)

// firewalld's names on the bus (firewalld.dbus(5)).
const (
	daemonName      = "org.fedoraproject.FirewallD1"
	zoneInterface   = daemonName + ".zone"
	policyInterface = daemonName + ".policy"
	configInterface = daemonName + ".config"

	daemonPath = dbus.ObjectPath("/org/fedoraproject/FirewallD1")
	configPath = daemonPath + "/config"

	systemBus = "unix:path=/run/dbus/system_bus_socket"
)

// object is a zone or a policy: how to ask for it, as it is now and as it is
// configured, and how to configure it. The settings are Docker's.
type object struct {
	kind, name, now, configured, add string
	settings                         map[string]any
}

func zoneObject() object {
	return object{
		kind: "zone", name: zone, now: zoneInterface + ".getZones",
		configured: configInterface + ".getZoneNames", add: configInterface + ".addZone2",
		settings: map[string]any{
			"version": "1.0", "short": zone, "target": "ACCEPT", "forward": true,
			"description": "zone for docker bridge network interfaces",
		},
	}
}

func policyObject() object {
	return object{
		kind: "policy", name: policy, now: policyInterface + ".getPolicies",
		configured: configInterface + ".getPolicyNames", add: configInterface + ".addPolicy",
		settings: map[string]any{
			"version": "1.0", "target": "ACCEPT",
			"description":   "allow forwarding to the docker zone",
			"ingress_zones": []string{"ANY"}, "egress_zones": []string{zone},
		},
	}
}

// daemon is firewalld at the other end of a connection to the bus.
type daemon struct{ conn *dbus.Conn }

// connect returns firewalld, or nil if there is no bus or no firewalld on it. The
// connection ends with ctx.
func (a *Applier) connect(ctx context.Context) (*daemon, error) {
	conn, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	there, err := owned(ctx, conn)
	if err != nil || !there {
		conn.Close()
		return nil, err
	}
	return &daemon{conn}, nil
}

// dial connects to the bus. The connection ends with ctx, and so does the attempt.
func (a *Applier) dial(ctx context.Context) (*dbus.Conn, error) {
	address := a.Address
	if address == "" {
		address = systemBus
	}
	conn, err := dbus.Dial(address, dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	return conn, nil
}

// owned reports whether firewalld is on the bus. It is so from before it has started:
// calls wait until it has.
func owned(ctx context.Context, conn *dbus.Conn) (there bool, err error) {
	err = conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, daemonName).Store(&there)
	if err != nil {
		return false, fmt.Errorf("look for it on the system bus: %w", err)
	}
	return there, nil
}

func (d *daemon) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	what := method[strings.LastIndex(method, ".")+1:]
	if err := fault.Point("firewalld: before " + what); err != nil {
		return &dbus.Call{Err: err}
	}
	defer fault.Passed("firewalld: after " + what)
	return d.conn.Object(daemonName, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
}

// zoneOf returns the zone that an interface was put into; "" if that is none, and then
// the default zone's rules are for it.
func (d *daemon) zoneOf(ctx context.Context, name string) (in string, err error) {
	err = d.call(ctx, daemonPath, zoneInterface+".getZoneOfInterface", name).Store(&in)
	return in, err
}

// missing lists what firewalld doesn't go by yet: the zone, and the policy if it is
// wanted. A firewalld before 0.9 has no policies and lets in what a zone accepts.
func (d *daemon) missing(ctx context.Context, forward bool) (missing []object, err error) {
	objects := []object{zoneObject()}
	if forward {
		objects = append(objects, policyObject())
	}
	for _, o := range objects {
		var names []string
		err := d.call(ctx, daemonPath, o.now).Store(&names)
		switch {
		case unknownMethod(err) && o.kind == "policy":
		case err != nil:
			return nil, fmt.Errorf("look for the %s %s: %w", o.kind, o.name, err)
		case !slices.Contains(names, o.name):
			missing = append(missing, o)
		}
	}
	return missing, nil
}

// add configures an object, unless it is configured already and only a reload is needed.
func (d *daemon) add(ctx context.Context, o object) error {
	var names []string
	if err := d.call(ctx, configPath, o.configured).Store(&names); err != nil {
		return fmt.Errorf("look for the %s %s in the configuration: %w", o.kind, o.name, err)
	}
	if slices.Contains(names, o.name) {
		return nil
	}
	settings := make(map[string]dbus.Variant, len(o.settings))
	for key, value := range o.settings {
		settings[key] = dbus.MakeVariant(value)
	}
	err := d.call(ctx, configPath, o.add, o.name, settings).Err
	if err != nil && !failedWith(err, "NAME_CONFLICT") { // Docker was faster
		return fmt.Errorf("make the %s %s: %w", o.kind, o.name, err)
	}
	return nil
}

// failedWith reports whether firewalld said no with one of these words
// (firewall/errors.py), which begin its errors' texts.
func failedWith(err error, codes ...string) bool {
	var e dbus.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Name, daemonName) {
		return false
	}
	code, _, _ := strings.Cut(e.Error(), ":")
	return slices.Contains(codes, code)
}

func unknownMethod(err error) bool {
	return named(err, "org.freedesktop.DBus.Error.UnknownMethod", "org.freedesktop.DBus.Error.UnknownInterface")
}

// absent reports that there is no bus, or that firewalld left it.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) ||
		named(err, "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")
}

func named(err error, names ...string) bool {
	var e dbus.Error
	return errors.As(err, &e) && slices.Contains(names, e.Name)
}
