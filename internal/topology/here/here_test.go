package here

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/topology"
	"github.com/mybr/mybr/internal/view"
)

// ip runs commands of ip(8), one a line.
func ip(t *testing.T, lines string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v\n%s", err, out)
	}
}

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// TestUplinks makes an interface of each kind; those that lead outside are found.
func TestUplinks(t *testing.T) {
	nettest.New(t)
	ip(t, `
link add zeth0 type veth peer name other0
link set zeth0 up
link set other0 up
addr add 192.0.2.2/24 dev zeth0
addr add 2001:db8::2/64 dev zeth0 nodad
addr add 192.0.2.1/24 dev zeth0
route add default via 192.0.2.254 dev zeth0
link add six type veth peer name other1
link set six up
link set other1 up
addr add 2001:db8:6::2/64 dev six nodad
route add default via 2001:db8:6::1 dev six
link add bridged type bridge
link set bridged up
addr add 198.51.100.2/24 dev bridged
route add default via 198.51.100.1 dev bridged metric 500
link add second type veth peer name other2
link set second up
link set other2 up
addr add 203.0.113.2/24 dev second
link add bare type veth peer name other3
link set bare up
link set other3 up
link add idle type veth peer name other4
addr add 203.0.113.9/24 dev idle
link add port type veth peer name other5
link set port up
addr add 203.0.113.10/24 dev port
link set port master bridged
link add docker0 type bridge
link set docker0 up
addr add 172.17.0.1/16 dev docker0
link add mybr0 type bridge
link set mybr0 up
addr add 172.18.0.1/16 dev mybr0
route add default via 172.18.0.2 dev mybr0 metric 600
`)
	if exec.Command("ip", "link", "add", "mute", "type", "dummy").Run() == nil { // not every kernel has them
		ip(t, "link set mute up\naddr add 203.0.113.11/24 dev mute\n")
	}
	h, err := Read(view.View{Networks: []view.Network{{Bridge: "mybr0"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []topology.Uplink{
		{Name: "bridged", Addresses: prefixes("198.51.100.2/24")},
		{Name: "six", Addresses: prefixes("2001:db8:6::2/64")},
		{Name: "zeth0", Addresses: prefixes("192.0.2.1/24", "192.0.2.2/24", "2001:db8::2/64")},
		{Name: "second", Addresses: prefixes("203.0.113.2/24")},
	}
	if !reflect.DeepEqual(h.Uplinks, want) {
		t.Errorf("uplinks are\n%v\nnot\n%v", h.Uplinks, want)
	}
	if name, _ := os.Hostname(); h.Name != name {
		t.Errorf("the host is %q, not %q", h.Name, name)
	}
}

// TestInside finds interfaces in another namespace by their MACs. What can't be looked into
// does not keep the others from being found.
func TestInside(t *testing.T) {
	host := nettest.New(t)
	var box netns.NsHandle
	host.Peer("box").In(func() {
		ip(t, `
link add eth0 address 02:42:ac:12:00:02 type veth peer name other0
link add net7 address 02:42:ac:13:00:02 type veth peer name other1
`)
		var err error
		if box, err = netns.Get(); err != nil {
			t.Fatal(err)
		}
	})
	defer box.Close()
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/proc/self/fd/%d", int(box))
	h, err := Read(view.View{Endpoints: []view.Endpoint{
		{ID: "file", Sandbox: file, MAC: "02:42:ac:12:00:02"}, {ID: "pipe", Sandbox: pipe},
		{ID: "first", Sandbox: path, MAC: "02:42:ac:12:00:02"}, {ID: "second", Sandbox: path, MAC: "02:42:ac:13:00:02"},
		{ID: "other", Sandbox: path, MAC: "02:42:ac:14:00:02"}, {ID: "none", MAC: "02:42:ac:12:00:02"},
		{ID: "gone", Sandbox: filepath.Join(dir, "gone"), MAC: "02:42:ac:12:00:02"},
	}})
	if want := map[string]string{"first": "eth0", "second": "net7"}; !reflect.DeepEqual(h.Inside, want) {
		t.Errorf("names are %v, not %v", h.Inside, want)
	}
	want := fmt.Sprintf("look into network namespaces: 2 failed, the first: %s is not a namespace", file)
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
}
