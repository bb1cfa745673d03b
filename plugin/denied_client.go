package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Denied asks what egress lists have refused, or would have, on a network, or on all if it is "".
func (c Client) Denied(ctx context.Context, network string) (Denied, error) {
	var d Denied
	err := c.get(ctx, "/v1/denied?network="+url.QueryEscape(network), &d)
	if err == nil {
		err = knows("what was refused", d.Version)
	}
	for i := range d.Denied {
		d.Denied[i].escape()
	}
	d.Unheard = printableLines(d.Unheard)
	return d, err
}

// FollowDenied calls fn with what Denied has, and then with each entry again that has changed, until
// fn returns an error, which is returned, ctx ends, or mybr does, which is io.EOF.
func (c Client) FollowDenied(ctx context.Context, network string, fn func(Denial) error) error {
	return c.read(ctx, http.MethodGet, "/v1/denied/follow?network="+url.QueryEscape(network), func(body io.Reader) error {
		for lines := json.NewDecoder(body); ; {
			var d Denial
			if err := lines.Decode(&d); err != nil {
				return err
			}
			if err := knows("what was refused", d.Version); err != nil {
				return err
			}
			d.escape()
			if err := fn(d); err != nil {
				return err
			}
		}
	})
}

// Suggest asks for the list that a network would need, or one endpoint of it unless that is "".
func (c Client) Suggest(ctx context.Context, network, endpoint string) (Suggestion, error) {
	var s Suggestion
	err := c.get(ctx, "/v1/suggest?network="+url.QueryEscape(network)+"&endpoint="+url.QueryEscape(endpoint), &s)
	if err == nil {
		err = knows("what is suggested", s.Version)
	}
	for i := range s.Left {
		s.Left[i].escape()
	}
	for i := range s.New {
		s.New[i] = Printable(s.New[i])
	}
	s.List, s.Unheard = Printable(s.List), printableLines(s.Unheard)
	var refused *refusal
	if errors.As(err, &refused) {
		return s, errors.New(refused.text)
	}
	return s, err
}

// knows is the error of an answer in a form that this command does not know.
func knows(what string, version int) error {
	if version > denialVersion {
		return fmt.Errorf("the mybr that runs is newer than this command: %s has version %d, and this command knows %d", what, version, denialVersion)
	}
	return nil
}
