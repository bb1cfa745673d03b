package crash

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
)

// docker is what the engine knows, and how it behaves when mybr ends in a call.
type docker struct {
	whole bool // it repeats a call with its body, as a fixed engine would; else with an empty one
	nth   int  // of the IDs that were given

	net     network
	ep      endpoint
	lost    []call     // removals that it gave up
	given   []endpoint // those that mybr may still have a record of
	unknown string     // the ID of the network that Docker was told last it can't have
	gaps    int        // how often Docker was refused what mybr could not know to be free
	unheard bool       // an address was given out, and Docker was not told
	at      int        // how many calls were made
	// aim and past are called before and behind call number n, from 0; nil: nothing is.
	aim, past func(n int, name string) error
	// judge looks at the outcome of call number n; what it finds wrong is the verdict.
	judge   func(n int, name string, refused error) error
	verdict error
}

// call is one request.
type call struct {
	name string
	body any
}

type network struct {
	id       string
	pools    []string // IDs
	gateways []string // CIDR
}

type endpoint struct {
	id, mac   string
	addresses []string // CIDR
	joined    bool     // its interface is in the container
}

type object map[string]any

// The subnets of the network, as the user gave them.
var subnets = []string{"10.77.0.0/24", "fd77::/64"}

func (w *world) id() string {
	w.nth++
	sum := sha256.Sum256(fmt.Append(nil, w.nth))
	return hex.EncodeToString(sum[:])
}

// activate is what Docker asks when it begins to use mybr, and what swarm would ask.
func (w *world) activate() error {
	var errs []error
	for _, c := range []call{
		{"Plugin.Activate", nil}, {"NetworkDriver.GetCapabilities", nil}, {"IpamDriver.GetCapabilities", nil},
		{"IpamDriver.GetDefaultAddressSpaces", nil},
		{"NetworkDriver.DiscoverNew", object{"DiscoveryType": 1, "DiscoveryData": object{"Address": "192.0.2.10", "Self": true}}},
		{"NetworkDriver.DiscoverDelete", object{"DiscoveryType": 1, "DiscoveryData": object{"Address": "192.0.2.10"}}},
		{"NetworkDriver.FreeNetwork", object{"NetworkID": "swarm"}},
	} {
		if _, err := w.call(c.name, c.body); c.body == nil || w.whole || w.starts == 1 {
			errs = append(errs, err) // else it is refused where mybr ended, which Docker lives with
		}
	}
	if _, err := w.call("NetworkDriver.AllocateNetwork", object{"NetworkID": "swarm"}); err == nil || !strings.Contains(err.Error(), "one host only") && w.whole {
		errs = append(errs, fmt.Errorf("AllocateNetwork: %v", err))
	}
	return errors.Join(errs...)
}

// createNetwork is `docker network create --ipv6 --subnet … --subnet …`. What it got is
// given back if it fails.
func (w *world) createNetwork() (err error) {
	n := network{id: w.id()}
	defer func() {
		if err != nil {
			w.releaseNetwork(n)
		}
	}()
	options := object{"com.docker.network.enable_ipv4": true, "com.docker.network.enable_ipv6": true,
		"com.docker.network.generic": object{"com.docker.network.driver.mtu": "1400", "mybr.spoof": "refuse"}}
	if _, err := w.call("NetworkDriver.GwAllocCheck", object{"Options": options}); err != nil {
		return err
	}
	create := object{"NetworkID": n.id, "Options": options}
	for i, subnet := range subnets {
		pool, err := w.call("IpamDriver.RequestPool", object{"AddressSpace": "mybr-local", "Pool": subnet, "SubPool": "", "Options": object{}, "V6": i == 1})
		if err != nil {
			return err
		}
		n.pools = append(n.pools, pool["PoolID"].(string))
	}
	for i, subnet := range subnets {
		gateway, err := w.call("IpamDriver.RequestAddress", object{"PoolID": n.pools[i], "Address": "", "Options": object{"RequestAddressType": "com.docker.network.gateway"}})
		if err != nil {
			return err
		}
		n.gateways = append(n.gateways, gateway["Address"].(string))
		create[[]string{"IPv4Data", "IPv6Data"}[i]] = []object{{"AddressSpace": "mybr-local", "Pool": subnet, "Gateway": n.gateways[i]}}
	}
	if _, err := w.call("NetworkDriver.CreateNetwork", create); err != nil {
		w.unknown = n.id
		return err
	}
	w.net = n
	return nil
}

func (w *world) releaseNetwork(n network) {
	for i, gateway := range n.gateways {
		address, _, _ := strings.Cut(gateway, "/")
		w.remove("IpamDriver.ReleaseAddress", object{"PoolID": n.pools[i], "Address": address})
	}
	for _, pool := range n.pools {
		w.remove("IpamDriver.ReleasePool", object{"PoolID": pool})
	}
}

// removeNetwork is `docker network rm`.
func (w *world) removeNetwork() {
	w.releaseNetwork(w.net)
	w.remove("NetworkDriver.DeleteNetwork", object{"NetworkID": w.net.id})
	w.net = network{}
}

// ports are what the container publishes.
func ports() object {
	published := []object{}
	for _, p := range [][3]int{{6, 80, 8080}, {17, 53, 8053}} {
		published = append(published, object{"Proto": p[0], "IP": "", "Port": p[1], "HostIP": "", "HostPort": p[2], "HostPortEnd": p[2]})
	}
	return object{"com.docker.network.portmap": published,
		"com.docker.network.endpoint.exposedports": []object{{"Proto": 6, "Port": 80}, {"Proto": 17, "Port": 53}}}
}

func (w *world) ofEndpoint(e endpoint) object {
	return object{"NetworkID": w.net.id, "EndpointID": e.id}
}

// run is `docker run -p 8080:80 -p 8053:53/udp`; on failure, what Engine 28 does then.
func (w *world) run() (err error) {
	e := endpoint{id: w.id()}
	mac := [6]byte{2, 0x42, 0, 0, byte(w.nth >> 8), byte(w.nth)}
	e.mac = net.HardwareAddr(mac[:]).String()
	undo := func() {}
	defer func() {
		if err != nil {
			undo()
			w.releaseAddresses(e)
			w.given = append(w.given, e)
		}
	}()
	for _, pool := range w.net.pools {
		a, err := w.call("IpamDriver.RequestAddress", object{"PoolID": pool, "Address": "", "Options": object{"com.docker.network.endpoint.macaddress": e.mac}})
		if err != nil {
			w.unheard = true
			return err
		}
		e.addresses = append(e.addresses, a["Address"].(string))
	}
	if err := w.createEndpoint(e, mac); err != nil {
		return err
	}
	join := w.ofEndpoint(e)
	join["SandboxKey"], join["Options"] = "/var/run/docker/netns/"+e.id[:12], ports()
	undo = func() { w.leave(&e) }
	joined, err := w.call("NetworkDriver.Join", join)
	if err != nil {
		return err
	}
	if err := w.plug(&e, joined); err != nil {
		return err
	}
	publish := w.ofEndpoint(e)
	publish["Options"] = ports()
	if _, err := w.call("NetworkDriver.ProgramExternalConnectivity", publish); err != nil {
		return err
	}
	if info, err := w.call("NetworkDriver.EndpointOperInfo", w.ofEndpoint(e)); err == nil {
		if err := e.told(info); err != nil {
			return err
		}
	} else if w.whole {
		return err // otherwise Docker lives with it
	}
	w.ep = e
	return w.traffic(e)
}

func (w *world) createEndpoint(e endpoint, mac [6]byte) error {
	options := ports()
	options["com.docker.network.endpoint.macaddress"] = base64.StdEncoding.EncodeToString(mac[:])
	create := w.ofEndpoint(e)
	create["Interface"] = object{"Address": e.addresses[0], "AddressIPv6": e.addresses[1], "MacAddress": e.mac}
	create["Options"] = options
	_, err := w.call("NetworkDriver.CreateEndpoint", create)
	return err
}

// told is an error unless EndpointOperInfo answers with what is published: both ports, at
// the host's addresses of both families.
func (e endpoint) told(info object) error {
	value, ok := info["Value"].(map[string]any)
	ports, isList := value["com.docker.network.portmap"].([]any)
	if !ok || !isList || len(ports) != 4 || value["MacAddress"] != e.mac {
		return fmt.Errorf("EndpointOperInfo answers %v", info)
	}
	return nil
}

// leave is what Docker does when a container ends.
func (w *world) leave(e *endpoint) {
	w.remove("NetworkDriver.Leave", w.ofEndpoint(*e))
	w.unplug(e)
	w.remove("NetworkDriver.DeleteEndpoint", w.ofEndpoint(*e))
}

func (w *world) releaseAddresses(e endpoint) {
	for i, a := range e.addresses {
		address, _, _ := strings.Cut(a, "/")
		w.remove("IpamDriver.ReleaseAddress", object{"PoolID": w.net.pools[i], "Address": address})
	}
}

// stop is `docker rm -f`.
func (w *world) stop() {
	w.remove("NetworkDriver.RevokeExternalConnectivity", w.ofEndpoint(w.ep))
	w.leave(&w.ep)
	w.releaseAddresses(w.ep)
	if len(w.lost) > 0 {
		w.given = append(w.given, w.ep)
	}
	w.ep = endpoint{}
}
