package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/mutate"
	"github.com/mybr/mybr/integration/reliability"
	lab "github.com/mybr/mybr/integration/world"
)

// mutation is a mistake that makes mybr lose something, and the test that notices it.
type mutation struct {
	name    string
	mistake mutate.Mutation
	test    string // its full name, as -test.v prints it
}

func mutations() []mutation {
	const place = "TestCrash/kill/"
	in := func(pkg, function string, at mutate.Place, with string) mutate.Mutation {
		return mutate.Mutation{Pkg: pkg, Function: function, At: at, With: with}
	}
	return []mutation{
		{"a recorded answer is not given again", in("driver", "putEndpoint", mutate.Condition("sameEndpoint"), "true || OLD"),
			place + "run_2_NetworkDriver.CreateEndpoint:_store:_after_the_commit#1,_good_retry"},
		{"leftovers are not removed at the start", in("internal/link", "planner.dropLeftovers", mutate.Condition("kind", "wanted"), "true || OLD"),
			place + "stop_2_NetworkDriver.DeleteEndpoint:_store:_after_the_commit#1,_good_retry"},
		{"the kernel before the record", in("internal/store", "Store.Update", mutate.WholeBody(), late),
			place + "create_5_NetworkDriver.CreateNetwork:_plugin:_after_the_answer#1,_good_retry"},
		{"no fsync", in("internal/store", "openFile", mutate.Assigned("Timeout"), "OLD; options.NoSync = true"), "TestPowerLoss"},
		{"undo is skipped", in("driver", "Driver.revert", mutate.WholeBody(), "{}"),
			"TestFail/fail/run_2_NetworkDriver.CreateEndpoint:_link:_before_making_a_link#1,_EPERM_always"},
		{"a pool that Docker was not told of is another's", in("ipam", "Driver.untold", mutate.Condition("used"), "true || OLD"),
			place + "create_1_IpamDriver.RequestPool:_store:_after_the_commit#1,_good_retry"},
		{"flows of what has ended are forgotten about", in("plugin", "withEnded", mutate.Assigned("known", "Endpoints"), "append(slices.Clone(known.Endpoints), gone[:0]...)"),
			place + "stop_2_NetworkDriver.DeleteEndpoint:_store:_after_the_commit#1,_good_retry"},
	}
}

// late is Store.Update with the commit behind what it answers.
const late = `{
	s.write.Lock()
	b, err := s.file.db.Begin(true)
	if err != nil {
		s.write.Unlock()
		return Undo{}, err
	}
	tx := newTx(b, s.decoded())
	if err := fn(tx); err != nil || len(tx.changes) == 0 {
		defer s.write.Unlock()
		return Undo{}, errors.Join(err, b.Rollback())
	}
	s.pair.Lock()
	s.now.snap = tx.snap
	s.pair.Unlock()
	go func() {
		defer s.write.Unlock()
		time.Sleep(50 * time.Millisecond)
		_ = s.commit(b, tx.changes, tx.snap, b.Commit)
	}()
	return tx.undo, nil
}`

// TestMutationsApply builds the package of each: the function and the place are there, and
// the mistake is one that compiles.
func TestMutationsApply(t *testing.T) {
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if err := m.mistake.Build("../..", t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMutations builds mybr with one mistake after the other; the test that is named must
// fail for it. With -short the first one is tried.
func TestMutations(t *testing.T) {
	for i, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			if i > 0 {
				lab.Full(t)
			}
			dir := t.TempDir()
			overlay, err := m.mistake.Overlay("../..", dir)
			if err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(dir, "crash.test")
			if out, err := exec.Command("go", "test", "-c", "-overlay="+overlay, "-o", binary, ".").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			run := exec.Command(binary, "-test.v", "-test.run", only(m.test), "-test.timeout", "5m")
			run.Env = append(os.Environ(), reliability.FileEnv+"="+filepath.Join(dir, "record")) // it is no try of mybr's
			out, err := run.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: "+m.test+" ") {
				t.Errorf("%s doesn't notice it: %v\n%s", m.test, err, out)
			}
		})
	}
}

// only is the pattern of -test.run that plays one test, and the record that it needs.
func only(test string) string {
	parts := strings.Split(test, "/")
	for i := range parts {
		parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
	}
	if len(parts) > 1 {
		parts[1] = "^(record|" + regexp.QuoteMeta(strings.Split(test, "/")[1]) + ")$"
	}
	return strings.Join(parts, "/")
}

// Without a mistake the same tests are content.
func TestMutationsAreWhatFails(t *testing.T) {
	lab.Full(t)
	for _, m := range mutations() {
		self, err := exec.LookPath("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		run := exec.Command(self, "-test.v", "-test.run", only(m.test), "-test.timeout", "5m")
		run.Env = append(os.Environ(), reliability.FileEnv+"="+filepath.Join(t.TempDir(), "record"))
		out, err := run.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+m.test+" ") {
			t.Errorf("%s: %v\n%s", m.test, err, out)
		}
	}
}
