package floor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/mybr/mybr/internal/nettest"
)

// The floor gives each endpoint a prepared pair, says the network's gateway, and leaves
// nothing behind.
func TestFloor(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	nettest.New(t)
	links, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer links.Close()
	d := New(links)
	ask := func(method, body string) (code int, answer map[string]any) {
		t.Helper()
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest("POST", "/"+method, strings.NewReader(body)))
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s: %q: %v", method, w.Body, err)
		}
		return w.Code, answer
	}
	if _, answer := ask("Plugin.Activate", ""); answer["Implements"].([]any)[0] != "NetworkDriver" {
		t.Errorf("activated as %v", answer)
	}
	ask("NetworkDriver.CreateNetwork", `{"NetworkID":"n1","IPv4Data":[{"Gateway":"10.1.0.1/24"}]}`)
	if code, answer := ask("NetworkDriver.Join", `{"NetworkID":"n1"}`); code != http.StatusInternalServerError || answer["Err"] == "" {
		t.Errorf("without a pair: %d %v", code, answer)
	}
	if err := d.Prepare(2); err != nil {
		t.Fatal(err)
	}
	seen := map[any]bool{}
	for range 2 {
		_, answer := ask("NetworkDriver.Join", `{"NetworkID":"n1"}`)
		name := answer["InterfaceName"].(map[string]any)["SrcName"]
		if answer["Gateway"] != "10.1.0.1" || seen[name] {
			t.Errorf("joined with %v", answer)
		}
		seen[name] = true
		if _, err := links.LinkByName(name.(string)); err != nil {
			t.Errorf("%v: %v", name, err)
		}
	}
	if err := d.Clean(); err != nil {
		t.Fatal(err)
	}
	left, err := links.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range left {
		if l.Type() == "veth" {
			t.Errorf("%s is left", l.Attrs().Name)
		}
	}
	if code, answer := ask("NetworkDriver.CreateNetwork", `{"IPv4Data":[{"Gateway":"nowhere"}]}`); code != http.StatusInternalServerError {
		t.Errorf("a gateway that is none: %d %v", code, answer)
	}
}
