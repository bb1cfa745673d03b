package host

import (
	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/view"
)

// HostName is what a World that Gather made calls the host.
const HostName = "host"

// Gather reads everything but the rules of the host, which is the caller's own namespace,
// and of all namespaces beside it. Those of endpoints are called as explain.SpaceName says.
func Gather(v view.View) (*explain.World, []Place, error) {
	named := map[string]string{}
	for _, e := range v.Endpoints {
		if e.Sandbox != "" {
			named[e.Sandbox] = explain.SpaceName(e)
		}
	}
	others, err := Namespaces(named)
	if err != nil {
		return nil, nil, err
	}
	places := append([]Place{{Name: HostName}}, others...)
	w, places, err := Read(places)
	if err != nil {
		return nil, nil, err
	}
	w.Relays = explain.RelaysOf(v)
	proxies, err := Proxies(places[0])
	w.Relays = append(w.Relays, proxies...)
	return w, places, err
}
