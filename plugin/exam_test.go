package plugin

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/doctor"
	"github.com/mybr/mybr/internal/page"
)

// The doctor looks behind whoever asks, one look at a time, not for ever, and seldom.
func TestExam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var looks atomic.Int32
		takes, fails := 2*time.Second, error(nil)
		s := &surgery{ctx: ctx, look: func(ctx context.Context) (doctor.Report, error) {
			looks.Add(1)
			select {
			case <-time.After(takes):
			case <-ctx.Done():
				return doctor.Report{}, context.Cause(ctx)
			}
			return doctor.Report{Results: []doctor.Result{{Check: "mtu", Verdict: doctor.Warning, Seen: []string{"a\x1b", "b."}, Means: "c", Mend: []string{"x", "y"}}}}, fails
		}}
		ask := func(want int32, why string) page.Exam {
			t.Helper()
			synctest.Wait()
			e := s.findings(t.Context())
			synctest.Wait()
			if n := looks.Load(); n != want {
				t.Fatalf("%s: it has looked %d times, want %d", why, n, want)
			}
			return e
		}
		if e := ask(1, "the first"); !e.At.IsZero() {
			t.Errorf("before it has ended: %+v", e)
		}
		ask(1, "while it looks")
		time.Sleep(takes)
		e := ask(1, "right behind it")
		if want := []page.Finding{{Name: "mtu", Verdict: page.Warning, Seen: `a\x1b. b. c.`, Mend: "x && y"}}; e.At.IsZero() || !reflect.DeepEqual(e.Findings, want) {
			t.Errorf("%+v, want %+v", e, want)
		}
		time.Sleep(examEvery)
		ask(1, "before it has rested for long enough")
		time.Sleep(examShare * takes)
		fails = errors.New("no")
		ask(2, "after that")
		time.Sleep(takes)
		if e := ask(2, "a look that failed"); e.Error != "no" || len(e.Findings) != 1 {
			t.Errorf("what it found before goes on to be shown: %+v", e)
		}
		takes, fails = time.Hour, nil
		time.Sleep(3 * examShare * time.Second)
		ask(3, "one that takes too long")
		time.Sleep(examWithin)
		synctest.Wait()
		if s.findings(t.Context()).Error == "" {
			t.Error("it has not ended")
		}
		time.Sleep(2 * examShare * examWithin)
		cancel()
		ask(3, "when mybr stops")
	})
}
