package plugin

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/egress/denied"
	"github.com/mybr/mybr/internal/model"
)

// denialVersion is that of the JSON forms of Denied, Denial and Suggestion: fields are added without
// a word, and it grows when one is removed or means something else.
const denialVersion = 1

// Denied is what GET /v1/denied answers: what egress lists have refused since mybr began, or would
// have refused if they were enforced. ?network=ID is of one network.
type Denied struct {
	Version   int      `json:"version"`
	Denied    []Denial `json:"denied"`
	Forgotten uint64   `json:"forgotten,omitempty"` // entries that are missing because there are too many: of the containers that have most, those that were silent longest
	Lost      uint64   `json:"lost,omitempty"`      // how often packets came faster than they could be told of
	Unheard   string   `json:"unheard,omitempty"`   // why nothing is heard of now
}

// Denial is what was counted together.
type Denial struct {
	Version   int       `json:"version,omitempty"`   // of a line of GET /v1/denied/follow, which stands alone
	Network   string    `json:"network"`             // ID
	Endpoint  string    `json:"endpoint,omitempty"`  // ID; "": whose address is no container's
	Container string    `json:"container,omitempty"` // its name, which the process does not know: the commands ask Docker
	Name      string    `json:"name,omitempty"`      // the host that was named; with an address, the one for which DNS had given the container that address
	Address   string    `json:"address,omitempty"`   // where to, as the container has chosen it; 0.0.0.0 or ::: a port that is published at several addresses, of which it is not known which
	Port      uint16    `json:"port,omitempty"`
	Protocol  string    `json:"protocol"` // tcp, udp, sctp, icmp, dns for a query, or "protocol N"
	Count     uint64    `json:"count"`    // how many were seen: packets that begin a connection, and each that is sent to the host
	Let       uint64    `json:"let"`      // how many of them passed, for the list was only watched
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// escape escapes all texts.
func (d *Denial) escape() {
	for _, s := range []*string{&d.Network, &d.Endpoint, &d.Name, &d.Address, &d.Protocol} {
		*s = Printable(*s)
	}
}

// Suggestion is what GET /v1/suggest?network=ID answers, or &endpoint=ID for one container: the list
// that lets pass all that was seen.
type Suggestion struct {
	Version int      `json:"version"`
	List    string   `json:"list"`              // the value of mybr.egress, with what it has now
	New     []string `json:"new"`               // the entries of it that are not there now
	Left    []Denial `json:"left"`              // what no entry is suggested for
	Own     int      `json:"own,omitempty"`     // how many containers have lists of their own, so that what was seen of them is not in it
	Unheard string   `json:"unheard,omitempty"` // why nothing is heard of now
}

// denier answers what is asked about what lists refuse.
type denier struct {
	denials  *denials
	snapshot func() model.Snapshot
}

// network is the one that a query names; nil if it names none.
func (d *denier) network(query url.Values) (*model.Network, error) {
	id := query.Get("network")
	if id == "" {
		return nil, nil
	}
	for _, n := range d.snapshot().Networks {
		if n.ID == id {
			return &n, nil
		}
	}
	return nil, model.NotFound("network %s is unknown", shorten(id))
}

func (d *denier) denied(query url.Values) (Denied, error) {
	n, err := d.network(query)
	if err != nil {
		return Denied{}, err
	}
	id := ""
	if n != nil {
		id = n.ID
	}
	all := Denied{Version: denialVersion, Denied: []Denial{}} // never null in JSON
	var seen []denied.Entry
	seen, all.Forgotten = d.denials.log.Entries(id)
	for _, e := range seen {
		all.Denied = append(all.Denied, denial(e))
	}
	_, all.Lost = d.denials.measured()
	all.Unheard = d.unheard()
	return all, nil
}

func (d *denier) unheard() string {
	if err := d.denials.unheard(); err != nil {
		return err.Error()
	}
	return ""
}

func denial(e denied.Entry) Denial {
	d := Denial{Network: e.Network, Endpoint: e.Endpoint, Name: e.Name, Port: e.Port, Protocol: e.Protocol,
		Count: e.Count, Let: e.Let, First: e.First, Last: e.Last}
	if e.Address.IsValid() {
		d.Address = e.Address.String()
	}
	return d
}

func (d *denier) suggest(query url.Values) (Suggestion, error) {
	n, err := d.network(query)
	switch {
	case err != nil:
		return Suggestion{}, err
	case n == nil:
		return Suggestion{}, model.Invalid("network: want the ID of a network")
	}
	only, own := query.Get("endpoint"), map[string]bool{}
	now, found := n.EgressInForce(), only == ""
	for _, e := range d.snapshot().Endpoints {
		if e.NetworkID != n.ID {
			continue
		}
		own[e.ID] = e.EgressInForce() != ""
		if e.ID == only {
			now, found = cmp.Or(e.EgressInForce(), now), true
		}
	}
	if !found {
		return Suggestion{}, model.NotFound("endpoint %s is unknown on network %s", shorten(only), model.ShortID(n.ID))
	}
	seen, _ := d.denials.log.Entries(n.ID)
	of, elsewhere := seen[:0:0], map[string]bool{}
	for _, e := range seen {
		switch {
		case only != "" && e.Endpoint != only:
		case only == "" && own[e.Endpoint]:
			elsewhere[e.Endpoint] = true
		default:
			of = append(of, e)
		}
	}
	return suggestion(now, of, len(elsewhere), d.unheard())
}

// suggestion puts a list together with what was seen.
func suggestion(now string, seen []denied.Entry, own int, unheard string) (Suggestion, error) {
	s := Suggestion{Version: denialVersion, New: []string{}, Left: []Denial{}, Own: own, Unheard: unheard}
	words, left := denied.Suggest(seen)
	for _, e := range left {
		s.Left = append(s.Left, denial(e))
	}
	have, err := egress.Parse(cmp.Or(now, model.FromNobody))
	if err != nil {
		return s, err
	}
	if have.All {
		s.List = have.String() // all of it passes anyway
		return s, nil
	}
	for _, word := range words {
		e, err := egress.ParseEntry(word)
		if err != nil {
			return s, err
		}
		if !slices.Contains(have.Entries, e) {
			s.New = append(s.New, e.String())
		}
	}
	s.List = have.String()
	if len(s.New) > 0 {
		whole := append(slices.DeleteFunc([]string{have.String()}, func(text string) bool { return len(have.Entries) == 0 }), s.New...)
		l, err := egress.Parse(strings.Join(whole, ","))
		if err != nil {
			return s, model.Invalid("what was seen is too much for a list: %w: name prefixes, or mybr list", err)
		}
		s.List = l.String()
	}
	return s, nil
}

// followEvery is how often somebody who follows is told, so that whoever knocks fast is one line.
const followEvery = time.Second / 2

// followDenied is GET /v1/denied/follow: a line of JSON for each entry of /v1/denied, and another one
// whenever one has changed, without end.
func (a *admin) followDenied(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		refuse(w, r, http.MethodGet)
		return
	}
	query := r.URL.Query()
	if _, err := a.denier.network(query); err != nil {
		reply(w, r, errorStatus(err), map[string]string{"error": err.Error()})
		return
	}
	log, told := a.denier.denials.log, map[denied.Key]uint64{}
	a.stream(w, r, func(ctx context.Context) (lines []any, err error) {
		for first := len(told) == 0; ; first = false {
			changed := log.Changed() // before it is read: what comes in between is in it
			all, _ := log.Entries(query.Get("network"))
			now := make(map[denied.Key]uint64, len(all))
			for _, e := range all {
				if now[e.Key] = e.Count; told[e.Key] != e.Count {
					line := denial(e)
					line.Version = denialVersion
					lines = append(lines, line)
				}
			}
			if told = now; len(lines) > 0 {
				return lines, nil
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			if first {
				continue // who has waited is told at once
			}
			select {
			case <-time.After(followEvery): // others will come with it
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	})
}
