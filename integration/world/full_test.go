package world_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// seeing is a test whose log is read.
type seeing struct {
	*testing.T
	log string
}

func (s *seeing) Logf(format string, args ...any) { s.log += fmt.Sprintf(format, args...) }

func TestRandCanBeRepeated(t *testing.T) {
	s := &seeing{T: t}
	first := world.Rand(s)
	name, seed, found := strings.Cut(strings.TrimPrefix(s.log, "seed: "), "=")
	if !found || name != "MYBR_TEST_SEED" {
		t.Fatalf("logged is %q", s.log)
	}
	t.Setenv(name, seed)
	again := world.Rand(t)
	for range 10 {
		if want, have := first.Uint64(), again.Uint64(); have != want {
			t.Fatalf("have %d, want %d", have, want)
		}
	}
	t.Setenv(name, "1")
	if world.Rand(t).Uint64() == first.Uint64() {
		t.Error("another seed gives the same numbers")
	}
}
