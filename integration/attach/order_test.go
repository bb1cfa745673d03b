package attach

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/plugin"
)

// neighbours makes a network with that mybr.icc and attaches an endpoint, and returns the network's ID
// and the host's end of the pair.
func (w *world) neighbours(icc string) (network, link string) {
	note := func(string, time.Duration) {}
	network = w.id()
	w.call("NetworkDriver.CreateNetwork", object{
		"NetworkID": network, "IPv4Data": []object{{"AddressSpace": "LocalDefault", "Pool": "10.0.0.0/16", "Gateway": "10.0.0.1/16"}},
		"Options": object{"com.docker.network.generic": object{"mybr.icc": icc}},
	}, note)
	return network, "veth" + w.attach(network, w.address(), port(0), note).id[:10]
}

// setICC is `mybr network set`.
func (w *world) setICC(network, icc string) error {
	return plugin.Client{RunDir: filepath.Join(w.dir, "run")}.Set(w.tb.Context(), plugin.Settings{Network: network, Options: map[string]string{"mybr.icc": icc}})
}

// Where containers of a network may begin nothing to each other instead of what a list says, they are
// never without both: when the list has gone, the bridge keeps its ports apart already, though ports
// are changed behind rules.
func TestListGoesBehindIsolation(t *testing.T) {
	w := newWorld(t)
	w.start()
	network, link := w.neighbours("web>db:80/tcp")
	run := func(command ...string) string {
		text, err := w.host.Try(command[0], command[1:]...)
		if err != nil {
			t.Error(err)
		}
		return text
	}
	list := func() string { return run("nft", "list", "tables") }
	isolated := func() bool { return strings.Contains(run("ip", "-d", "link", "show", link), "isolated on") }
	if t.Failed() || !strings.Contains(list(), "mybr-spoof") || isolated() {
		t.Fatalf("at first there is\n%s, and the port is isolated: %t", list(), isolated())
	}
	var once sync.Once
	looked := false
	t.Cleanup(fault.Set(func(point string) error {
		if point == "reconcile: before "+reconcile.LinkAspect {
			once.Do(func() {
				looked = true
				if !isolated() && !strings.Contains(list(), "mybr-spoof") {
					t.Error("there is no list any more, and the port is not kept apart yet")
				}
			})
		}
		return w.pass(point)
	}))
	err := w.setICC(network, "none")
	if err != nil || !looked {
		t.Fatalf("set mybr.icc=none: %v; looked before ports are changed: %t", err, looked)
	}
	if !isolated() || strings.Contains(list(), "mybr-spoof") {
		t.Errorf("at last there is\n%s, and the port is isolated: %t", list(), isolated())
	}
}

// Ports that were kept apart for a list which could not be taken away then, and which is wanted again,
// are put right, though mybr looks at nothing by itself.
func TestListStaysBehindIsolation(t *testing.T) {
	w := newWorld(t)
	w.firewall, w.resync = "iptables", 0 // all transactions of nf_tables are the list's
	w.start()
	network, link := w.neighbours("web>db:80/tcp")
	isolated := func() bool {
		text, err := w.host.Try("ip", "-d", "link", "show", link)
		if err != nil {
			t.Error(err)
		}
		return strings.Contains(text, "isolated on")
	}
	if isolated() {
		t.Fatal("the port is kept apart at first")
	}
	var kept atomic.Bool
	restore := fault.Set(func(point string) error {
		if point == "nftables: before a transaction" {
			kept.Store(isolated())
			return unix.ENOBUFS
		}
		return w.pass(point)
	})
	if err := w.setICC(network, "none"); err == nil || !kept.Load() {
		t.Errorf("set mybr.icc=none: %v; the port was kept apart before: %t", err, kept.Load())
	}
	if err := w.setICC(network, ""); err != nil {
		t.Error(err)
	}
	restore()
	nettest.Eventually(t, 10*time.Second, func() error {
		if isolated() {
			return errors.New("the port is kept apart, and the list is there")
		}
		return nil
	})
}

// And where a list comes instead of nothing, rules let pass what goes from the bridge back into it only
// behind that: the host would route to neighbours what is sent to it for them.
func TestRulesOpenBehindTheList(t *testing.T) {
	w := newWorld(t)
	w.firewall = "iptables" // its rules are read here
	w.start()
	network, _ := w.neighbours("none")
	rules := func() string {
		text, err := w.host.Try("iptables", "-S")
		if err != nil {
			t.Error(err)
		}
		return text
	}
	closed := rules()
	var mu sync.Mutex
	early := []string{}
	t.Cleanup(fault.Set(func(point string) error {
		if point == "reconcile: before "+reconcile.SpoofAspect {
			mu.Lock()
			early = append(early, rules())
			mu.Unlock()
		}
		return w.pass(point)
	}))
	err := w.setICC(network, "web>db:80/tcp")
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(early) == 0 || early[0] != closed {
		t.Errorf("before there is a list the rules are\n%q\nand were\n%s", early, closed)
	}
	if rules() == closed {
		t.Errorf("with a list the rules are as without: %s", closed)
	}
	list, err := w.host.Try("nft", "list", "map", "bridge", "mybr-spoof", "members")
	if err != nil || !strings.Contains(list, "veth") {
		t.Errorf("%v\n%s", err, list)
	}
}
