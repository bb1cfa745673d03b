package nftables

import (
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

func TestMain(m *testing.M) { firewalltest.Main(m) }

func newBackend(t *testing.T) *Backend {
	t.Helper()
	return open(t, "")
}

// list is nft(8)'s list of mybr's table in a family, without what was counted; "": there is none.
func list(h *nettest.Host, fam family) string {
	if !strings.Contains(h.Run("nft", "list", "tables"), "table "+fam.name()+"\n") {
		return ""
	}
	return h.Run("nft", "--stateless", "list", "table", fam.word, tableName)
}
