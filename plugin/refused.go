package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// refusals remembers how many frames of each link were refused, or have passed where they are only
// counted, when that was told last.
type refusals map[string]uint64

// news lists the links of which it is to be told again, sorted: those of which frames were
// counted for the first time, and then whenever there are twice as many, so that nobody fills
// the log. A count that has begun anew, as when others have flushed the rules, is a new one.
func (r refusals) news(now map[string]uint64) (links []string) {
	maps.DeleteFunc(r, func(link string, told uint64) bool { return now[link] < told })
	for _, link := range slices.Sorted(maps.Keys(now)) {
		if n := now[link]; n > 0 && n >= 2*r[link] {
			r[link] = n
			links = append(links, link)
		}
	}
	return links
}

// tellRefused logs whose frames were refused, since nothing else tells why they don't arrive, or
// would have been.
func (h *host) tellRefused(ctx context.Context, s model.Snapshot) error {
	refused, passed, err := h.spoof.Refused(ctx)
	if err != nil {
		return err
	}
	endpoints := map[string]*model.Endpoint{}
	for _, e := range s.Endpoints {
		endpoints[e.HostIface()] = e
	}
	tell := func(told refusals, now map[string]uint64, were string) {
		for _, link := range told.news(now) {
			e := endpoints[link]
			if e == nil {
				continue // it has gone since, and nobody waits for its frames
			}
			h.warn("%d frames that endpoint %.12s of network %.12s has sent with other MACs or from other addresses than its own (mybr.spoof) "+were+"; "+
				"`nft list table bridge mybr-spoof` counts them by reason", now[link], e.ID, e.NetworkID, link)
		}
	}
	tell(h.refused, refused, "were refused at %s")
	tell(h.passed, passed, "have passed at %s, where they are only counted")
	return nil
}

// unchecked says why what Config.Spoof asks for can't be had, on a kernel that lacks something; nil:
// it can, or it does not ask for anything. Who has asked for nothing is told that nothing is worse
// than with Docker's own driver, and how not to be told again.
func (c Config) unchecked(lacks error) error {
	switch {
	case lacks == nil || c.Spoof == "" || c.Spoof == model.SpoofAllow:
		return nil
	case c.SpoofAsked:
		return fmt.Errorf("--spoof %s does nothing: %w", c.Spoof, lacks)
	}
	return fmt.Errorf("--spoof %s, the default, does nothing on this host, which is as with Docker's own driver (--spoof %s says that this is meant): %w", c.Spoof, model.SpoofAllow, lacks)
}
