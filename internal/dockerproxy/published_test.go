package dockerproxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// While mybr hangs, one answer is late for it. The others show what it said last, and don't
// wait.
func TestMybrHangs(t *testing.T) {
	f := newFakeWithin(t, limits{within: 300 * time.Millisecond, pause: time.Hour, glance: 100 * time.Millisecond},
		engine(map[string]string{"/containers/json": aList}))
	f.set(someEndpoints)
	if have := f.get("/containers/json"); have != aListWant {
		t.Errorf("have %s", have)
	}
	f.hang()
	for range 10 {
		if have := f.get("/containers/json"); have != aListWant {
			t.Errorf("have %s", have)
		}
	}
	if n := f.questions(); n != 2 { // a client waits only for a question of its own
		t.Errorf("mybr was asked %d times", n)
	}
	f.pauseEnds()
	for range 10 { // tried again, by one
		f.get("/containers/json")
	}
	if n := f.questions(); n != 3 {
		t.Errorf("mybr was asked %d times", n)
	}
	f.set(map[string]Endpoint{})
	f.eventually(func() error {
		f.pauseEnds()
		if have := f.get("/containers/json"); have != aList {
			return fmt.Errorf("have %s", have)
		}
		return nil
	})
	before := f.questions()
	f.get("/containers/json")
	if n := f.questions(); n != before+1 {
		t.Errorf("mybr was asked %d times, before %d", n, before)
	}
	want := []string{"published ports are shown as mybr told them last until mybr can be asked: context deadline exceeded", "published ports are shown again"}
	if have := f.logged(); fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("logged %q", have)
	}
}

// pauseEnds has mybr be asked again with the next list.
func (f *fake) pauseEnds() {
	f.handler.told.mu.Lock()
	defer f.handler.told.mu.Unlock()
	f.handler.told.again = time.Now()
}

// A mybr that hangs from the start: answers are as the engine sent them.
func TestMybrHangsFirst(t *testing.T) {
	f := newFakeWithin(t, limits{within: 50 * time.Millisecond, pause: time.Hour}, engine(map[string]string{"/containers/json": aList}))
	f.hang()
	for range 3 {
		if have := f.get("/containers/json"); have != aList {
			t.Errorf("have %s", have)
		}
	}
	if n := f.questions(); n != 1 {
		t.Errorf("mybr was asked %d times", n)
	}
}

// Clients that go away before mybr's time is over let it be seen that it hangs.
func TestMybrHangsForTheImpatient(t *testing.T) {
	f := newFakeWithin(t, limits{within: 300 * time.Millisecond, pause: time.Hour}, engine(map[string]string{"/containers/json": aList}))
	f.hang()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/containers/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() {
		resp, err := f.client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	f.eventually(func() error {
		if f.questions() == 0 {
			return errors.New("mybr was not asked")
		}
		return nil
	})
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the client was answered: %v", err)
	}
	f.eventually(func() error {
		f.handler.told.mu.Lock()
		defer f.handler.told.mu.Unlock()
		if !f.handler.told.hangs() {
			return errors.New("it is not seen that mybr hangs")
		}
		return nil
	})
}

// A question that was late ends the waiting of all.
func TestMybrHangsForAll(t *testing.T) {
	f := newFakeWithin(t, limits{within: time.Hour, pause: time.Hour}, engine(map[string]string{"/containers/json": aList}))
	f.set(someEndpoints)
	if have := f.get("/containers/json"); have != aListWant {
		t.Errorf("have %s", have)
	}
	release := make(chan struct{})
	f.handler.Published = func(context.Context) (map[string]Endpoint, error) {
		f.mu.Lock()
		f.asked++
		f.mu.Unlock()
		<-release
		return nil, errors.New("late")
	}
	t.Cleanup(func() { close(release) })
	answers := make(chan string, 5)
	for range cap(answers) {
		go func() { answers <- f.get("/containers/json") }()
	}
	f.eventually(func() error {
		if n := f.questions(); n != 1+cap(answers) {
			return fmt.Errorf("mybr was asked %d times", n)
		}
		return nil
	})
	f.handler.note(2, nil, context.DeadlineExceeded, true)
	for range cap(answers) {
		if have := <-answers; have != aListWant {
			t.Errorf("have %s", have)
		}
	}
}

// An answer to an earlier question does not replace that to a later one.
func TestAnswersOvertake(t *testing.T) {
	p := New(Config{})
	p.note(2, someEndpoints, nil, false)
	p.note(1, map[string]Endpoint{}, nil, false)
	p.note(1, nil, context.DeadlineExceeded, true)
	if p.told.hangs() {
		t.Error("mybr is taken to hang")
	}
	if last, ok := p.told.known(); !ok || len(last) != len(someEndpoints) {
		t.Errorf("%v, %v", last, ok)
	}
}
