package host

import (
	"context"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/view"
)

// mostInside is in how many namespaces beside the host's Several reads rules: that takes some
// ten commands for each.
const mostInside = 24

// Several predicts several packets on one moment of the host: what is read of the kernel is read
// once, and the rules of a namespace when the first packet passes it.
type Several struct {
	World *explain.World

	places []Place
	read   map[string]bool
	unread int
}

// GatherFor is Gather for packets between the host, who is beyond it, and the sandboxes of these
// endpoints of a view: other namespaces are taken for what is beyond.
func GatherFor(v view.View, endpoints map[string]bool) (*Several, error) {
	places := []Place{{Name: HostName}}
	seen := map[string]bool{}
	for _, e := range v.Endpoints {
		if endpoints[e.ID] && e.Sandbox != "" && !seen[e.Sandbox] {
			seen[e.Sandbox] = true
			places = append(places, Place{Name: explain.SpaceName(e), Path: e.Sandbox})
		}
	}
	w, places, err := Read(places)
	if err != nil {
		return nil, err
	}
	w.Relays = explain.RelaysOf(v)
	proxies, err := Proxies(places[0])
	w.Relays = append(w.Relays, proxies...)
	return &Several{World: w, places: places, read: map[string]bool{}}, err
}

// Predict is like the function of that name. Of namespaces beyond the first ones, see Unread, it
// takes the rules to be none.
func (s *Several) Predict(ctx context.Context, q explain.Query) (explain.Result, error) {
	for _, p := range s.places {
		if len(s.read) > mostInside && !s.read[p.Name] {
			s.unread++
			s.read[p.Name] = true
		}
	}
	return Predict(ctx, s.World, s.places, q, s.read)
}

// Unread is how many namespaces have rules that were not read.
func (s *Several) Unread() int { return s.unread }
