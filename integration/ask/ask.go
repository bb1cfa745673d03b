// Package ask asks mybr as Docker does, for tests and measurements that play Docker.
//
//	mybr := ask.New(socket, 0)
//	err := mybr.Call(ctx, "NetworkDriver.DeleteNetwork", map[string]any{"NetworkID": id}, nil)
//
// Be aware: it neither waits for mybr nor repeats a call, as Docker would.
package ask

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Mybr is a mybr that listens at a plugin socket.
type Mybr struct{ transport *http.Transport }

// New keeps so many connections for later calls; 0: each call has its own.
func New(socket string, kept int) *Mybr {
	return &Mybr{&http.Transport{
		DisableKeepAlives:   kept == 0,
		MaxIdleConnsPerHost: kept,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// Close closes the connections that are kept.
func (m *Mybr) Close() { m.transport.CloseIdleConnections() }

// Refused is an answer that is no success.
type Refused struct {
	Method string
	Status int
	Err    string // what mybr says; "": the answer is not as Docker wants it
	Body   []byte
}

func (r *Refused) Error() string {
	if r.Err == "" {
		return fmt.Sprintf("%s: status %d: %q", r.Method, r.Status, r.Body)
	}
	return fmt.Sprintf("%s: %s", r.Method, r.Err)
}

// Call makes a call, with an empty body if that is nil, and reads the answer into what is
// given, if that is not nil. What mybr has answered is no other error than a *Refused.
func (m *Mybr) Call(ctx context.Context, method string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin.moby.localhost/"+method, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: m.transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	refused := &Refused{Method: method, Status: resp.StatusCode, Body: answer}
	var said struct{ Err string }
	if err := json.Unmarshal(answer, &said); err != nil {
		return refused
	}
	if resp.StatusCode != http.StatusOK {
		refused.Err = said.Err
		return refused
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return refused
	}
	return nil
}
