// Package floor is a network driver that does nothing: it answers Docker at once, with veth
// pairs that were made before, and writes no rule. What a call takes with it is what Docker
// itself takes.
//
//	d := floor.New(handle)
//	go http.Serve(listener, d)
//	d.Prepare(30) // pairs, as many as endpoints are made until Clean
//
// Be aware: it is for measuring. It forgets everything when it ends, publishes nothing, and
// its containers reach nobody but each other.
package floor

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/vishvananda/netlink"
)

// bridge is the one bridge of all networks.
const bridge = "floor0"

// Driver is the driver, as an http.Handler of Docker's plugin protocol.
type Driver struct {
	links *netlink.Handle // of the host

	mu       sync.Mutex
	made     int
	ready    []string          // container's ends of pairs that are free
	used     []string          // and of those that were given away
	gateways map[string]string // by network
}

// New makes the driver of a host.
func New(links *netlink.Handle) *Driver {
	return &Driver{links: links, gateways: map[string]string{}}
}

// Prepare has so many pairs ready.
func (d *Driver) Prepare(pairs int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}
	if have, err := d.links.LinkByName(bridge); err == nil {
		br.Index = have.Attrs().Index
	} else if err := d.links.LinkAdd(br); err != nil {
		return fmt.Errorf("make %s: %w", bridge, err)
	} else if err := d.links.LinkSetUp(br); err != nil {
		return err
	}
	for len(d.ready) < pairs {
		d.made++
		inside := fmt.Sprint("flc", d.made)
		err := d.links.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("flh", d.made), MasterIndex: br.Index, Flags: net.FlagUp},
			PeerName:  inside,
		})
		if err != nil {
			return fmt.Errorf("make the pair of %s: %w", inside, err)
		}
		d.ready = append(d.ready, inside)
	}
	return nil
}

// Clean deletes the pairs that were given away, whose endpoints must be gone.
func (d *Driver) Clean() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, inside := range d.used {
		link, err := d.links.LinkByName("flh" + inside[len("flc"):])
		if err != nil {
			continue // it went with its container's namespace
		}
		if err := d.links.LinkDel(link); err != nil {
			return fmt.Errorf("delete the pair of %s: %w", inside, err)
		}
	}
	d.used = nil
	return nil
}

// request is what any of Docker's requests holds that matters here.
type request struct {
	NetworkID string
	IPv4Data  []struct{ Gateway string }
}

// ServeHTTP answers one request of Docker's.
func (d *Driver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked request
	if r.ContentLength != 0 && r.URL.Path != "/Plugin.Activate" {
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	answer, err := d.answer(r.URL.Path, asked)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		answer = map[string]string{"Err": err.Error()}
	}
	w.Header().Set("Content-Type", "application/vnd.docker.plugins.v1.2+json")
	json.NewEncoder(w).Encode(answer)
}

func (d *Driver) answer(path string, asked request) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch path {
	case "/Plugin.Activate":
		return map[string]any{"Implements": []string{"NetworkDriver"}}, nil
	case "/NetworkDriver.GetCapabilities":
		return map[string]string{"Scope": "local", "ConnectivityScope": "local"}, nil
	case "/NetworkDriver.CreateNetwork":
		if len(asked.IPv4Data) > 0 {
			ip, _, err := net.ParseCIDR(asked.IPv4Data[0].Gateway)
			if err != nil {
				return nil, fmt.Errorf("gateway %q: %w", asked.IPv4Data[0].Gateway, err)
			}
			d.gateways[asked.NetworkID] = ip.String()
		}
	case "/NetworkDriver.DeleteNetwork":
		delete(d.gateways, asked.NetworkID)
	case "/NetworkDriver.CreateEndpoint":
		return map[string]any{"Interface": map[string]string{}}, nil
	case "/NetworkDriver.Join":
		return d.join(asked)
	}
	return map[string]string{}, nil
}

// join gives a prepared pair away.
func (d *Driver) join(asked request) (any, error) {
	if len(d.ready) == 0 {
		return nil, fmt.Errorf("no pair is ready: %d were made", d.made)
	}
	inside := d.ready[0]
	d.ready, d.used = d.ready[1:], append(d.used, inside)
	return map[string]any{
		"InterfaceName": map[string]string{"SrcName": inside, "DstPrefix": "eth"},
		"Gateway":       d.gateways[asked.NetworkID],
	}, nil
}
