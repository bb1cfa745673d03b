package crash

import (
	"context"
	"errors"
	"fmt"

	"github.com/mybr/mybr/integration/ask"
)

// send makes one attempt. A second error is that of the transport.
func (w *world) send(name string, body any) (answer object, refused, broken error) {
	err := ask.New(w.socket(), 0).Call(context.Background(), name, body, &answer)
	if err != nil && !errors.As(err, new(*ask.Refused)) {
		return nil, nil, err
	}
	w.open++
	if err != nil {
		return nil, err, nil
	}
	return answer, nil, nil
}

// call is one call of Docker's, repeated once mybr is there again.
func (w *world) call(name string, body any) (object, error) {
	n := w.at
	w.at++
	if w.aim != nil {
		if err := w.aim(n, name); err != nil {
			return nil, err
		}
	}
	answer, refused, broken := w.send(name, body)
	if broken != nil {
		if err := errors.Join(w.died(), w.restart()); err != nil {
			return nil, fmt.Errorf("%s: %w after %w", name, err, broken)
		}
		if !w.whole {
			body = nil
		}
		if answer, refused, broken = w.send(name, body); broken != nil {
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
