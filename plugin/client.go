package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/view"
)

// askWithin bounds a request of the operator's commands. Comparing the host with the records waits
// for the pass that is under way, of which each aspect has an end.
const askWithin = time.Minute

// Client asks a running mybr through its admin socket. Texts that it returns can be shown in a
// terminal (Printable): they name links, rules and programs of others.
type Client struct {
	RunDir string // as `mybr serve` has it
}

// Status asks how the process is.
func (c Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.get(ctx, "/v1/status", &s)
	for _, text := range []*string{&s.Version, &s.Firewall, &s.LastError, &s.Unknown, &s.NoticedLate, &s.Unheard, &s.Unchecked} {
		*text = printableLines(*text)
	}
	for aspect, h := range s.Healed {
		h.By = Printable(h.By)
		s.Healed[aspect] = h
	}
	return s, err
}

// Diff asks what the host has otherwise than is recorded.
func (c Client) Diff(ctx context.Context) ([]Difference, error) {
	var d []Difference
	err := c.get(ctx, "/v1/diff", &d)
	return printable(d), err
}

// printable escapes all texts of a list.
func printable(d []Difference) []Difference {
	for i := range d {
		d[i].Aspect, d[i].Error = Printable(d[i].Aspect), printableLines(d[i].Error)
		for j := range d[i].Changes {
			d[i].Changes[j] = Printable(d[i].Changes[j])
		}
	}
	return d
}

// View asks for all that mybr knows of its networks.
func (c Client) View(ctx context.Context) (view.View, error) {
	var v view.View
	err := c.get(ctx, "/v1/view", &v)
	if err == nil && v.Version > view.Version {
		err = fmt.Errorf("the mybr that runs is newer than this command: its view has version %d, and this command knows %d", v.Version, view.Version)
	}
	v.Escape(Printable)
	return v, err
}

// Sync has the host made to match the records, from nothing, and returns what that has changed
// and what could not be.
func (c Client) Sync(ctx context.Context) ([]Difference, error) {
	var d []Difference
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	err := c.read(ctx, http.MethodPost, "/v1/sync", func(body io.Reader) error { return json.NewDecoder(body).Decode(&d) })
	return printable(d), err
}

// Forget has mybr forget a network, with the subnets that its IPAM driver holds for it, or a
// subnet that no network has. Whether Docker has it is for the caller to find out.
func (c Client) Forget(ctx context.Context, what Forgotten) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return c.send(ctx, http.MethodPost, "/v1/forget", bytes.NewReader(body), func(io.Reader) error { return nil })
}

// Set changes options of a network or an endpoint.
func (c Client) Set(ctx context.Context, what Settings) error {
	return c.post(ctx, "/v1/settings", what)
}

// SetList changes or removes a list of clients.
func (c Client) SetList(ctx context.Context, what List) error { return c.post(ctx, "/v1/lists", what) }

// ChangePorts publishes ports of an endpoint or takes some away, and returns which.
func (c Client) ChangePorts(ctx context.Context, what Ports) (changed []Binding, err error) {
	err = c.ask(ctx, "/v1/ports", what, func(body io.Reader) error { return json.NewDecoder(body).Decode(&changed) })
	for i := range changed {
		changed[i].Proto = Printable(changed[i].Proto)
	}
	return changed, err
}

// post sends what is to be done.
func (c Client) post(ctx context.Context, path string, what any) error {
	return c.ask(ctx, path, what, func(io.Reader) error { return nil })
}

// ask sends what is to be done and has fn read the answer. What mybr refuses is the error, and
// nothing beside it.
func (c Client) ask(ctx context.Context, path string, what any, fn func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	err = c.send(ctx, http.MethodPost, path, bytes.NewReader(body), fn)
	var refused *refusal
	if errors.As(err, &refused) {
		return errors.New(refused.text)
	}
	return err
}

// refusal is an answer that says what can't be done as it was asked, and text what of it mybr has
// written.
type refusal struct {
	error
	text string
}

// Events calls fn with each event as it happens, and first with up to so many that were, until
// fn returns an error, which is returned, ctx ends, or mybr does, which is io.EOF.
func (c Client) Events(ctx context.Context, history int, fn func(event.Event) error) error {
	path := fmt.Sprintf("/v1/events?history=%d", history)
	return c.read(ctx, http.MethodGet, path, func(body io.Reader) error {
		for lines := json.NewDecoder(body); ; {
			var e event.Event
			if err := lines.Decode(&e); err != nil {
				return err
			}
			if e.Version > event.Version {
				return fmt.Errorf("the mybr that runs is newer than this command: its events have version %d, and this command knows %d", e.Version, event.Version)
			}
			e.Escape(Printable)
			if err := fn(e); err != nil {
				return err
			}
		}
	})
}

// Rules asks which firewall rules are wanted and why and, if compare says so, what the kernel has
// otherwise.
func (c Client) Rules(ctx context.Context, compare bool) (view.Rules, error) {
	var all view.Rules
	path := "/v1/rules"
	if compare {
		path += "?compare=1"
	}
	err := c.get(ctx, path, &all)
	if err == nil && all.Version > view.Version {
		err = fmt.Errorf("the mybr that runs is newer than this command: its rules have version %d, and this command knows %d", all.Version, view.Version)
	}
	for i := range all.Rules {
		r := &all.Rules[i]
		for _, text := range []*string{&r.Command, &r.Table, &r.Chain, &r.Rule, &r.Why, &r.Bridge, &r.Network, &r.Endpoint} {
			*text = Printable(*text)
		}
	}
	for i := range all.Differences {
		d := &all.Differences[i]
		for _, text := range []*string{&d.Command, &d.Table, &d.Chain, &d.Rule, &d.Mend, &d.Why} {
			*text = Printable(*text)
		}
	}
	all.Unknown = printableLines(all.Unknown)
	return all, err
}

// Backup writes all records as they are now to a writer, as a state file: whole, or nothing. It
// has read them before it writes, which may take longer than mybr waits for who reads.
func (c Client) Backup(ctx context.Context, w io.Writer) error {
	var all []byte
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	err := c.read(ctx, http.MethodGet, "/v1/backup", func(body io.Reader) (err error) {
		all, err = io.ReadAll(body)
		return err
	})
	if err != nil {
		return err
	}
	_, err = w.Write(all)
	return err
}

// Runtime asks what the process takes of the machine.
func (c Client) Runtime(ctx context.Context) (Runtime, error) {
	var r Runtime
	err := c.get(ctx, "/v1/runtime", &r)
	return r, err
}

func (c Client) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return c.read(ctx, http.MethodGet, path, func(body io.Reader) error { return json.NewDecoder(body).Decode(into) })
}

// ErrNotRunning says that nobody answers for mybr.
var ErrNotRunning = errors.New("mybr is not running")

// read has fn read an answer.
func (c Client) read(ctx context.Context, method, path string, fn func(io.Reader) error) error {
	return c.send(ctx, method, path, http.NoBody, fn)
}

// send is read with something to send.
func (c Client) send(ctx context.Context, method, path string, what io.Reader, fn func(io.Reader) error) error {
	socket := adminPath(c.RunDir)
	req, err := http.NewRequestWithContext(ctx, method, "http://mybr"+path, what)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: no process listens on %s", ErrNotRunning, socket)
	case err != nil:
		return fmt.Errorf("ask %s: %w", socket, errors.Unwrap(err)) // without the made-up URL
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var body struct{ Error string }
		_ = json.NewDecoder(resp.Body).Decode(&body) // the status says enough if there is none
		err := fmt.Errorf("ask %s for %s: %s %s", socket, path, Printable(resp.Status), printableLines(body.Error))
		if resp.StatusCode < http.StatusInternalServerError && body.Error != "" {
			err = &refusal{err, printableLines(body.Error)}
		}
		return err
	}
	if err := fn(resp.Body); err != nil {
		return fmt.Errorf("ask %s for %s: %w", socket, path, err)
	}
	return nil
}
