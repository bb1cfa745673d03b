// Package world gives each test a Docker Engine and a LAN of its own.
//
// A world is a process 1 with a PID, mount, UTS and network namespace. In it run
// dockerd, its containers and mybr, with a private /run, /etc, /sys and boot ID. Its
// eth0 (192.0.2.2/24, 2001:db8::2/64) leads to a switch in another namespace; at the
// switch hang the LAN's hosts, each a network namespace (the first at 192.0.2.9 and
// 2001:db8::9).
//
//	w := world.New(t, world.Config{})
//	w.Docker("network", "create", "-d", w.Driver, "n1")
//	w.Serve("web", []string{"--net", "n1", "-p", "8088:80"}, "tcp:80")
//	got := w.LAN.Get("tcp", "192.0.2.2:8088")
//
// Nothing outlives the test: with the world's process 1 the kernel ends everything in
// its PID namespace, and with the last process the namespaces go. Process 1 ends when
// the test does, however that ends; files and control groups are then removed by a
// janitor process. See roles.go.
//
// The engine is the machine's own, or that of another Debian release, with all of that
// release's programs around it: Config.Engine and debian.go.
//
// Be aware: it needs root and the programs of Debian's docker.io and iptables. A test
// binary must call Main first thing in TestMain, since the helper processes are the
// test binary itself. Control groups belong to the machine, not to a namespace: those
// of a world's containers are below one group named after the test process.
package world

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/sys/capability"
)

// Addresses of a world, from TEST-NET-1 (RFC 5737) and the documentation prefix of IPv6
// (RFC 3849).
const (
	HostAddr  = "192.0.2.2" // the host's eth0
	LANAddr   = "192.0.2.9" // the first host of the LAN
	HostAddr6 = "2001:db8::2"
	LANAddr6  = "2001:db8::9"
	lanBits   = "/24"
	lanBits6  = "/64"
)

// addr6 is the IPv6 address of the host with this IPv4 address of the LAN: it ends with
// the last number of the IPv4 address.
func addr6(addr string) string { return "2001:db8::" + addr[strings.LastIndexByte(addr, '.')+1:] }

// OwnEngine is the machine's own engine in Config.Engine.
const OwnEngine = "own"

// OverlayEnv names the file for go build -overlay of worlds that don't name one.
const OverlayEnv = "MYBR_TEST_OVERLAY"

// T is what a world needs of *testing.T.
type T interface {
	Helper()
	Name() string
	Failed() bool
	Cleanup(func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Config is how a world differs from the usual.
type Config struct {
	DockerArgs []string         // more flags for dockerd
	MybrArgs   []string         // more flags for mybr serve
	Variant    string           // of iptables, for dockerd and mybr: "nft" or "legacy"; "": $MYBR_TEST_IPTABLES, else the machine's own
	Firewall   string           // mybr's --firewall; "": $MYBR_TEST_FIREWALL, else mybr's own choice
	Driver     string           // "mybr" or "bridge", Docker's own; "": $MYBR_TEST_DRIVER, else mybr
	LANs       []string         // addresses of more hosts of the LAN, in 192.0.2.0/24
	Engine     string           // "28.5", "26.1" or OwnEngine; "": $MYBR_TEST_ENGINE, else the machine's own
	Drop       []capability.Cap // what mybr lacks of the capabilities that its unit leaves to it
	Overlay    string           // a file for go build -overlay: the mybr of this world is built with it; "": $MYBR_TEST_OVERLAY
}

// World is one engine with its LAN.
type World struct {
	Driver string // what to give to docker network create -d
	Host   *Place // replaced by Reboot
	LAN    *Place // at LANAddr
	LANs   []*Place

	t       T
	cfg     Config
	lab     *lab
	name    string // also of its control group
	dir     string // everything of it that a reboot keeps
	debian  string // its engine's root directory; "": the machine's
	lan     *lan
	boot    *boot
	docker  *daemon
	mybr    *daemon
	proxy   *daemon // of Docker's API; nil: not started
	proxied bool    // all that asks Docker goes through it
	service service
	ended   bool

	mu    sync.Mutex
	boots int
}

// New makes a world, its engine answering and, with the mybr driver, mybr listening.
// The world ends with the test. A test process that may not make namespaces, or has
// no dockerd, skips.
func New(t T, cfg Config) *World {
	t.Helper()
	l, err := theLab()
	if err != nil {
		t.Fatalf("world: %v", err)
	}
	if l.skip != "" {
		t.Skipf("world: %s", l.skip)
	}
	if cfg.Driver == "" {
		cfg.Driver = Driver()
	}
	if cfg.Variant == "" {
		cfg.Variant = os.Getenv("MYBR_TEST_IPTABLES")
	}
	if cfg.Firewall == "" {
		if cfg.Firewall, err = firewall(); err != nil {
			t.Fatalf("world: %v", err)
		}
	}
	if cfg.Engine == "" {
		cfg.Engine = os.Getenv("MYBR_TEST_ENGINE")
	}
	if cfg.Overlay == "" {
		cfg.Overlay = os.Getenv(OverlayEnv)
	}
	if cfg.Engine == OwnEngine {
		cfg.Engine = ""
	}
	w := &World{t: t, cfg: cfg, lab: l, Driver: cfg.Driver}
	w.engine()
	w.name, w.dir, err = l.newWorld()
	if err != nil {
		t.Fatalf("world: %v", err)
	}
	t.Cleanup(w.end)
	if err := w.begin(); err != nil {
		t.Fatalf("world: %v", err)
	}
	return w
}

// engine skips the test if the wanted engine can't be had.
func (w *World) engine() {
	w.t.Helper()
	d := w.lab.engine(w.cfg.Engine)
	if d.err != nil {
		w.t.Fatalf("world: %v", d.err)
	}
	if d.skip != "" {
		w.t.Skipf("world: %s", d.skip)
	}
	w.debian = d.root
	if _, err := lookPath("dockerd", "", filepath.Join("/", w.debian)); err != nil {
		w.t.Skipf("world: %v", err)
	}
}

// Driver is the driver that tests are about when they don't say: $MYBR_TEST_DRIVER,
// else mybr.
func Driver() string {
	if d := os.Getenv("MYBR_TEST_DRIVER"); d != "" {
		return d
	}
	return "mybr"
}

func (w *World) begin() error {
	if err := w.variant(); err != nil {
		return err
	}
	if w.Driver == "mybr" {
		if _, err := w.lab.mybr(w.cfg.Overlay); err != nil {
			return err
		}
	}
	var err error
	if w.lan, err = newLAN(); err != nil {
		return err
	}
	if err := w.powerOn(); err != nil {
		return err
	}
	for _, addr := range append([]string{LANAddr}, w.cfg.LANs...) {
		p, err := w.lan.host(addr+lanBits, addr6(addr)+lanBits6)
		if err != nil {
			return err
		}
		p.w = w
		w.LANs = append(w.LANs, p)
	}
	w.LAN = w.LANs[0]
	if err := w.startDocker(); err != nil {
		return err
	}
	if err := w.loadGuest(); err != nil {
		return err
	}
	if err := w.startMybr(); err != nil {
		return err
	}
	return w.proxyAll()
}

// powerOn starts process 1 and plugs the cable into eth0.
func (w *World) powerOn() error {
	w.mu.Lock()
	w.boots++
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d\n", w.boots)
	w.mu.Unlock()
	if err := os.WriteFile(filepath.Join(w.dir, "boot_id"), []byte(id), 0o644); err != nil {
		return err
	}
	var err error
	if w.boot, err = newBoot(w.dir, w.debian); err != nil {
		return err
	}
	w.Host = &Place{w: w, Name: "host", netns: w.boot.net, handle: w.boot.handle}
	return w.lan.plug(w.Host, HostAddr+lanBits, HostAddr6+lanBits6)
}

// Reboot ends everything that runs on the host as a power cut would, and starts it
// again: links, rules and sandboxes are gone, /var/lib is there, the boot ID is
// another. mybr starts before dockerd, as its systemd unit asks.
func (w *World) Reboot() {
	w.t.Helper()
	w.boot.end()
	w.docker, w.mybr, w.proxy = nil, nil, nil
	err := w.powerOn()
	if err == nil {
		err = w.startMybr()
	}
	if err == nil {
		w.proxied = false // until it is there again
		err = w.startDocker()
	}
	if err == nil {
		err = w.proxyAll()
	}
	if err != nil {
		w.t.Fatalf("reboot: %v", err)
	}
}

// End ends the world before its test does.
func (w *World) End() {
	w.t.Helper()
	w.end()
	w.ended = true
}

// end takes the world apart, shows what its daemons said if the test failed, and
// fails the test if something of it can't be removed.
func (w *World) end() {
	if w.ended {
		return
	}
	if w.boot != nil {
		w.boot.end()
	}
	if w.lan != nil {
		w.lan.close()
	}
	violation := w.violation()
	if w.t.Failed() || violation != "" {
		w.showLogs()
	}
	// The kernel lets go of a control group a moment after its last process has ended.
	if err := poll(stopTimeout, func() error { return sweepWorld(w.name, w.dir) }); err != nil {
		w.t.Fatalf("world: %v", err)
	}
	if violation != "" {
		w.t.Fatalf("%s", violation)
	}
}

// During makes a subtest answer for what fails from now to its end. Subtests that
// share a world take turns.
func (w *World) During(t T) {
	before := w.t
	w.t = t
	t.Cleanup(func() { w.t = before })
}

// Path is where the test process finds a file of the world's host.
func (w *World) Path(path string) string {
	return filepath.Join(w.boot.root(), path)
}
