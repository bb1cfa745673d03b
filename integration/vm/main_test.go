package vm

import (
	"os"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

func TestMain(m *testing.M) {
	world.Main()
	os.Exit(m.Run())
}
