package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/store"
)

// plug moves the container's end of the pair into the container, as Docker does behind Join.
func (w *world) plug(e *endpoint, joined object) error {
	name := joined["InterfaceName"].(map[string]any)["SrcName"].(string)
	for i, key := range []string{"Gateway", "GatewayIPv6"} {
		if gateway, _, _ := strings.Cut(w.net.gateways[i], "/"); joined[key] != gateway {
			return fmt.Errorf("Join answers %s %v, want %s", key, joined[key], gateway)
		}
	}
	var err error
	w.host.In(func() {
		var l netlink.Link
		if l, err = netlink.LinkByName(name); err == nil && l.Attrs().HardwareAddr.String() != e.mac {
			err = fmt.Errorf("%s has the MAC %s, want %s", name, l.Attrs().HardwareAddr, e.mac)
		}
	})
	if err != nil {
		return err
	}
	w.container.Adopt(w.host, name, nettest.End{Name: "eth0", Addresses: e.addresses})
	e.joined = true
	return nil
}

// unplug moves it back, with the name that it had.
func (w *world) unplug(e *endpoint) {
	if e.joined {
		w.container.Run("ip", "link", "set", "eth0", "down")
		w.container.Run("ip", "link", "set", "eth0", "name", "veth"+e.id[:10]+"c")
		w.host.Adopt(w.container, "veth"+e.id[:10]+"c", nettest.End{Name: "veth" + e.id[:10] + "c"})
		e.joined = false
	}
}

// traffic has the kernel track flows that lead to the container.
func (w *world) traffic(e endpoint) error {
	to, _, _ := strings.Cut(e.addresses[0], "/")
	for _, f := range [][]string{
		{"-p", "udp", "--dport", "8053", "--reply-port-src", "53"},
		{"-p", "tcp", "--dport", "8080", "--reply-port-src", "80", "--state", "ESTABLISHED"},
	} {
		_, err := w.host.Try("conntrack", slices.Concat([]string{"-I", "-s", "192.0.2.9", "-d", "192.0.2.1", "--reply-src", to, "--reply-dst", "192.0.2.9", "-t", "600"},
			f, []string{"--sport", "4242", "--reply-port-dst", "4242"})...)
		if err != nil {
			return err
		}
	}
	return nil
}

// picture is all that mybr has changed or may have changed, one line each, sorted, with
// words for what differs between runs.
func (w *world) picture(t testing.TB) []string {
	var lines []string
	w.host.In(func() { lines = slices.Concat(links(t), flows(t), sockets(t)) })
	for _, command := range w.saves {
		table := ""
		for line := range strings.Lines(w.host.Run(command)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "*") {
				table = line
			}
			if strings.HasPrefix(line, "-A") || strings.HasPrefix(line, ":") && !regexp.MustCompile(`^:\S+ ACCEPT`).MatchString(line) {
				lines = append(lines, command+" "+table+" "+regexp.MustCompile(` \[\d+:\d+\]`).ReplaceAllString(line, ""))
			}
		}
	}
	lines = append(lines, w.rules(t)...)
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding"} {
		lines = append(lines, "setting "+path+" "+w.host.ReadSysctl(path))
	}
	lines = append(lines, w.records(t)...)
	for i, l := range lines {
		lines[i] = w.normal(l)
	}
	slices.Sort(lines)
	return lines
}

// normal has words for IDs, addresses of endpoints and MACs.
func (w *world) normal(line string) string {
	for _, p := range [][2]string{{w.net.id, "NETWORK"}, {w.ep.id, "ENDPOINT"}} {
		for _, n := range []int{64, 12, 10} {
			if len(p[0]) >= n {
				line = strings.ReplaceAll(line, p[0][:n], p[1])
			}
		}
	}
	for i, a := range w.ep.addresses {
		address, _, _ := strings.Cut(a, "/")
		line = regexp.MustCompile(regexp.QuoteMeta(address)+`\b`).ReplaceAllString(line, fmt.Sprintf("ADDRESS%d", i))
	}
	line = regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`).ReplaceAllString(line, "MAC")
	line = regexp.MustCompile(`\bm=[0-9a-f]{12}`).ReplaceAllString(line, "m=MAC") // in an alias
	return regexp.MustCompile(`fe80::[0-9a-f:]+`).ReplaceAllString(line, "LINKLOCAL")
}

// links lists the links of the calling thread's namespace, with addresses and settings. If one
// goes while they are read, which netlink and /proc tell in several ways, they are read anew.
func links(t testing.TB) (lines []string) {
	t.Helper()
	var err error
	for range 10 {
		if lines, err = linksNow(); err == nil {
			return lines
		}
	}
	t.Fatal(err)
	return nil
}

func linksNow() (lines []string, err error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range all {
		a := l.Attrs()
		line := fmt.Sprintf("link %s %s up=%v mtu=%d alias=%q master=%s", a.Name, l.Type(), a.Flags&net.FlagUp != 0, a.MTU, a.Alias, names[a.MasterIndex])
		if a.MasterIndex != 0 {
			port, err := netlink.LinkGetProtinfo(l)
			if err != nil {
				return nil, err
			}
			line += fmt.Sprintf(" hairpin=%v isolated=%v", port.Hairpin, port.Isolated)
		}
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, err
		}
		for _, address := range addresses {
			line += " " + address.IPNet.String()
		}
		for _, name := range []string{"accept_ra", "disable_ipv6"} {
			value, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv6/conf", a.Name, name))
			if err != nil {
				return nil, err
			}
			line += " " + name + "=" + strings.TrimSpace(string(value))
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func flows(t testing.TB) (lines []string) {
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.Forward.SrcIP.String() == "192.0.2.9" {
			lines = append(lines, fmt.Sprintf("flow %d to %s:%d leads to %s:%d", f.Forward.Protocol, f.Forward.DstIP, f.Forward.DstPort, f.Reverse.SrcIP, f.Reverse.SrcPort))
		}
	}
	return lines
}

// sockets lists what is listened at, by each family: where the one socket for both could not
// be had at once, there are two.
func sockets(t testing.TB) (lines []string) {
	for _, proto := range []string{"tcp", "udp"} {
		text, err := exec.Command("ss", "--no-header", "--numeric", "--listening", "--"+proto).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 4 {
				t.Fatalf("ss printed %q", line)
			}
			if port, both := strings.CutPrefix(f[3], "*:"); both { // ss(8) prints * for what is not IPv6 alone
				lines = append(lines, "socket "+proto+" 0.0.0.0:"+port, "socket "+proto+" [::]:"+port)
			} else {
				lines = append(lines, "socket "+proto+" "+f[3])
			}
		}
	}
	return lines
}

// records lists what a copy of the state file holds, save what only tells the order of
// requests.
func (w *world) records(t testing.TB) (lines []string) {
	file := filepath.Join(w.dir, "copy.db")
	for _, of := range []string{".journal", ""} { // in this order: what leaves the first is in the second
		text, err := os.ReadFile(w.stateFile() + of)
		if of != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(file+of, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	add := func(kind string, record any) {
		text, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, kind+" "+regexp.MustCompile(`"(BridgeMAC|MAC)":"?[^,}]*`).ReplaceAllString(string(text), `"MAC":0`))
	}
	err = s.View(func(tx *store.Tx) error {
		for _, n := range tx.Networks() {
			add("network", n)
		}
		for _, e := range tx.Endpoints() {
			add("endpoint", e)
		}
		for _, id := range tx.Unanswered() {
			add("unanswered", id)
		}
		for _, p := range tx.Pools() {
			for l := range tx.Leases(p.ID, netip.Addr{}) {
				add("lease "+p.ID, l)
			}
			p.Last = netip.Addr{}
			add("pool", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// differ says what two pictures have otherwise; "" if they agree.
func differ(have, want []string) string {
	var b strings.Builder
	for _, l := range have {
		if !slices.Contains(want, l) {
			fmt.Fprintf(&b, "\n+ %s", l)
		}
	}
	for _, l := range want {
		if !slices.Contains(have, l) {
			fmt.Fprintf(&b, "\n- %s", l)
		}
	}
	return b.String()
}
