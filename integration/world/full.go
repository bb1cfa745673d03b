package world

import (
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Short reports whether go test runs with -short, as make test does: then one row of each
// kind is played. Without it, as in make test-full, every row is.
func Short() bool { return testing.Short() }

// Full skips a test that only make test-full runs.
func Full(t T) {
	t.Helper()
	if Short() {
		t.Skipf("only make test-full runs this: go test without -short")
	}
}

// Parallel sets how many tests run at a time, unless go test was told so (-parallel). A
// test with a world mostly waits: for containers, for namespaces to go, for answers that
// must not come. So that is more than the processors.
func Parallel(tests int) {
	flag.Parse()
	if slices.ContainsFunc(os.Args, func(a string) bool { return strings.Contains(a, "test.parallel") }) {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(tests)); err != nil {
		panic(err)
	}
}

// seedEnv names the seed of the tests that choose at random.
const seedEnv = "MYBR_TEST_SEED"

// Rand is a source of random numbers for a test, which logs its seed. $MYBR_TEST_SEED, an
// unsigned decimal number, repeats a run; otherwise each call has a seed of its own.
func Rand(t T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv(seedEnv); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedEnv, err)
		}
	}
	t.Logf("seed: %s=%d", seedEnv, seed)
	return rand.New(rand.NewPCG(seed, 0))
}
