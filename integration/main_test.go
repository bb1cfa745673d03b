// Package integration tests mybr with a real Docker Engine and real packets. Each
// test has an engine and a LAN of its own: package world.
//
// With MYBR_TEST_DRIVER=bridge the same tests are about Docker's own driver; what they
// say of a scenario must hold for both, save where a test says otherwise.
package integration

import (
	"os"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

func TestMain(m *testing.M) {
	world.Main()
	world.Parallel(4)
	os.Exit(m.Run())
}
