package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// send makes one attempt. A second error is that of the transport.
func (w *world) send(name string, body []byte) (answer object, refused, broken error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.socket())
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Post("http://plugin.moby.localhost/"+name, "", bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	w.open++
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("%s answers %q: %w", name, text, err), nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %v", name, answer["Err"]), nil
	}
	return answer, nil, nil
}

// call is one call of Docker's, repeated once mybr is there again.
func (w *world) call(name string, body any) (object, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	n := w.at
	w.at++
	if w.aim != nil {
		if err := w.aim(n, name); err != nil {
			return nil, err
		}
	}
	answer, refused, broken := w.send(name, text)
	if broken != nil {
		if err := errors.Join(w.died(), w.restart()); err != nil {
			return nil, fmt.Errorf("%s: %w after %w", name, err, broken)
		}
		if !w.whole {
			text = nil
		}
		if answer, refused, broken = w.send(name, text); broken != nil {
			return nil, fmt.Errorf("%s, again: %w: %s", name, broken, w.log())
		}
	}
	if w.past != nil {
		if err := w.past(n, name); err != nil {
			return nil, err
		}
	}
	if w.judge != nil {
		if err := w.judge(n, name, refused); err != nil {
			w.verdict = err
		}
	}
	return answer, refused
}

// remove is a call whose error Docker logs and lives with.
func (w *world) remove(name string, body any) {
	if _, err := w.call(name, body); err != nil {
		w.lost = append(w.lost, call{name, body})
	}
}
