package driver

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// failing is a store whose nth update from now on fails, and all later ones.
type failing struct {
	records
	n int
}

var errDisk = errors.New("no space left on device")

func (f *failing) Update(fn func(Tx) error) (func() error, error) {
	if f.n--; f.n < 0 {
		return nil, errDisk
	}
	return f.records.Update(fn)
}

// Docker repeats a call whose connection broke without its body, and then gives up
// without a word.
func TestNetworkThatWasBeingMadeWhenTheProcessEnded(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
	k := newGate()
	w.Driver.sync = k
	done := start(func() error { return w.createNetwork(netA, "10.1.0.0/24", "") })
	await(t, k.entered)
	w.networkRecord(netA)

	w.restart() // the old driver still waits
	must(t, w.RemoveStale(ctx))
	if s := w.store.Snapshot(); len(s.Networks) != 1 || s.Networks[0].ID != netB {
		t.Errorf("have %+v", s.Networks)
	}
	k.open <- nil
	await(t, done)
}

func TestNetworkThatIsThereSurvivesARestart(t *testing.T) {
	w := newWorld(t)
	for range 2 { // Docker's repetition finds it made
		must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	}
	w.restart()
	must(t, w.RemoveStale(ctx))
	w.networkRecord(netA)
}

// Whatever update the disk refuses, a call that fails leaves no network that a restart
// would bring back or take away.
func TestDiskIsFullWhileANetworkIsMade(t *testing.T) {
	for n := range 3 {
		w := newWorld(t)
		w.Driver.store = &failing{records{w.store}, n}
		err := w.createNetwork(netA, "10.1.0.0/24", "")
		if n%2 == 0 {
			w.restart()
		} else {
			w.Driver.store = records{w.store} // there is room again
		}
		must(t, w.RemoveStale(ctx))
		if have := len(w.store.Snapshot().Networks); err == nil && have != 1 || err != nil && have != 0 {
			t.Errorf("update %d fails: error %v, and after a restart %d networks", n, err, have)
		}
	}
}

// The client hangs up behind the last look that a commit takes: Docker gives the network up,
// so it is removed, whether the mark that it is unanswered is there still or not.
func TestClientHangsUpWhenTheNetworkIsMade(t *testing.T) {
	for _, when := range []struct {
		name          string
		before, after int // hang up before or behind an update of the store
	}{{"before the mark is taken off", 0, 1}, {"while the mark is taken off", 2, 0}, {"when it is off", 0, 2}} {
		t.Run(when.name, func(t *testing.T) {
			w := newWorld(t)
			hungUp, cancel := context.WithCancel(ctx)
			looked := &looks{Context: hungUp}
			n := 0
			w.Driver.store = hooked{records{w.store}, func() {
				if n++; n == when.before {
					cancel()
				}
			}, func() {
				switch {
				case when.after == n && n == 1: // behind the look that follows the pass
					looked.then = cancel
				case when.after == n:
					cancel()
				}
			}}
			withContext(t, looked)
			if err := w.createNetwork(netA, "10.1.0.0/24", ""); !errors.Is(err, context.Canceled) {
				t.Errorf("have error %v", err)
			}
			if s := w.store.Snapshot(); len(s.Networks) != 0 {
				t.Errorf("left is %+v", s.Networks)
			}
			if n := len(w.host.made); n != 0 {
				t.Errorf("%d links are left", n)
			}
		})
	}
}

// hooked is a store with functions that are called before and behind each update.
type hooked struct {
	records
	before, after func()
}

func (h hooked) Update(fn func(Tx) error) (func() error, error) {
	h.before()
	defer h.after()
	return h.records.Update(fn)
}

// looks is a context that calls then, once it is there, behind the next look at Err.
type looks struct {
	context.Context
	then func()
}

func (l *looks) Err() error {
	err := l.Context.Err()
	if l.then != nil {
		l.then()
		l.then = nil
	}
	return err
}

// An endpoint that nobody joins keeps no subnet for long from the network that Docker has
// given it to.
func TestNetworkWithAnUnjoinedEndpointThatDockerRemoved(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	_, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(t, err)
	w.restart()
	w.clock.pass(joinedWithin + time.Second)
	must(t, w.createNetwork(netB, "10.1.0.0/24", ""))
	if s := w.store.Snapshot(); len(s.Networks) != 1 || s.Networks[0].ID != netB || len(s.Endpoints) != 0 {
		t.Errorf("have %+v", s)
	}
}

// Docker put the interface back, but mybr was away when it said so.
func TestEndpointThatLeftWhileMybrWasAway(t *testing.T) {
	w := newWorld(t)
	w.running()
	w.host.foreign = []model.Link{{Name: model.Endpoint{ID: ep1}.PeerIface(), Kind: "veth"}}
	_, err := w.createEndpoint(netA, ep2, "10.1.0.2/24")
	must(t, err)
	if s := w.store.Snapshot(); len(s.Endpoints) != 1 || s.Endpoints[0].ID != ep2 {
		t.Errorf("have %+v", s.Endpoints)
	}
}
