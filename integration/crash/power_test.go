package crash

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
)

// trace is what a strace of mybr tells about the state file, line by line. What was in the journal
// before comes into the state file behind answers: a boot drops it, so it needs no disk.
type trace struct {
	journal bool            // something is in the journal alone
	behind  bool            // what was written last may be that
	meta    bool            // and is the page that says which ones count, behind the sync of the others
	dirty   bool            // something was written since the last sync began
	syncing map[string]bool // by thread: a sync is under way; whether something was written since

	writes, syncs, answers int
	journalled             int      // writes to the journal
	named                  bool     // the directory was synced
	early                  []string // answers that came before the sync
}

var (
	threadLine = regexp.MustCompile(`^(\d+) +(.*)`)
	stateFile  = regexp.MustCompile(`^(pwrite64|write|ftruncate|fdatasync|fsync)\(\d+<[^>]*/mybr\.db>`)
	journal    = regexp.MustCompile(`^(pwrite64|write)\(\d+<[^>]*/mybr\.db\.journal>`)
)

// line takes the next line of a strace -f -y.
func (r *trace) line(text string) {
	m := threadLine.FindStringSubmatch(text)
	if m == nil {
		return
	}
	thread, call := m[1], m[2]
	switch file := stateFile.FindStringSubmatch(call); {
	case file != nil && strings.HasSuffix(file[1], "sync"):
		r.syncing[thread] = false
		if strings.HasSuffix(call, "= 0") {
			r.synced(thread)
		}
	case journal.MatchString(call):
		r.journalled++
		r.journal = true
	case file != nil:
		r.writes++
		if !r.dirty {
			r.meta = r.behind && !r.journal && !r.meta // the second write of the commit that began so
			r.behind, r.journal = r.journal || r.meta, false
		}
		r.dirty = true
		for thread := range r.syncing {
			r.syncing[thread] = true
		}
	case strings.Contains(call, "sync resumed>") && strings.HasSuffix(call, "= 0"):
		r.synced(thread)
	case regexp.MustCompile(`^fsync\(\d+<[^>]*/state>`).MatchString(call):
		r.named = true
	case strings.HasPrefix(call, "write(") && strings.Contains(call, `"HTTP/1.1 `):
		r.answers++
		if r.dirty && !r.behind || !r.named {
			r.early = append(r.early, call)
		}
	}
}

func (r *trace) synced(thread string) {
	r.syncs++
	if written, ok := r.syncing[thread]; ok && !written {
		r.dirty = false
	}
	delete(r.syncing, thread)
}

// TestPowerLoss traces the system calls of a life: what a call has written to the state file
// is on the disk before its answer leaves, so that no power cut makes mybr forget what it
// has told Docker. What is about endpoints alone is in the journal, for a boot ends them.
func TestPowerLoss(t *testing.T) {
	reliability.Try(t, "the power is cut behind an answer: what it tells is on the disk", func() time.Duration {
		strace, err := exec.LookPath("strace")
		if err != nil {
			t.Fatalf("%v: apt-get install strace, which make does", err)
		}
		w := newWorld(t)
		file := filepath.Join(w.dir, "trace")
		w.wrap = []string{strace, "-f", "-y", "-s", "16", "-o", file, "-e", "trace=write,pwrite64,ftruncate,fsync,fdatasync"}
		if err := w.restart(); err != nil {
			t.Fatalf("%v\n%s", err, w.log())
		}
		for _, ph := range life() {
			if err := ph.do(w); err != nil || len(w.lost) > 0 {
				t.Fatalf("%s: %v, refused: %v", ph.name, err, w.lost)
			}
		}
		if _, err := w.quiet(); err != nil {
			t.Fatal(err)
		}
		calls := w.at
		if err := errors.Join(w.orders.Close(), w.died()); err != nil { // strace ends with mybr
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := trace{syncing: map[string]bool{}}
		for line := range strings.Lines(string(text)) {
			r.line(strings.TrimSpace(line))
		}
		t.Logf("%d writes to the state file, %d syncs, %d writes to the journal, %d answers", r.writes, r.syncs, r.journalled, r.answers)
		if r.answers < calls || r.writes == 0 || r.syncs == 0 || r.journalled == 0 {
			t.Errorf("%d calls were made, and %d answers traced", calls, r.answers)
		}
		if len(r.early) > 0 {
			t.Errorf("%d answers left before what they tell was on the disk, the first: %s", len(r.early), r.early[0])
		}
		return 0
	})
}
