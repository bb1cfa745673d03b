package nftables

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// alone is a host on which iptables has no tables.
const alone = "alone"

// stand is the variant of iptables that others use beside mybr, and the family that a test is
// about. Policies are for both.
type stand struct {
	family
	name string // alone, "nft" or "legacy"
	dir  string // a directory with the commands
}

// eachKind runs a test on a host of its own without iptables, and beside each variant, in
// each family.
func eachKind(t *testing.T, test func(t *testing.T, h *nettest.Host, k stand)) {
	each(t, []string{alone, "nft", "legacy"}, test)
}

// eachBeside is eachKind where iptables has tables.
func eachBeside(t *testing.T, test func(t *testing.T, h *nettest.Host, k stand)) {
	each(t, []string{"nft", "legacy"}, test)
}

func each(t *testing.T, names []string, test func(t *testing.T, h *nettest.Host, k stand)) {
	for _, name := range names {
		for _, fam := range []family{ipv4(), ipv6()} {
			t.Run(name+" "+fam.String(), func(t *testing.T) {
				t.Parallel()
				h := nettest.New(t)
				test(t, h, kindOf(t, name, fam))
			})
		}
	}
}

func kindOf(t *testing.T, name string, fam family) stand {
	t.Helper()
	k := stand{fam, name, t.TempDir()}
	variant := name
	if name == alone {
		variant = "nft"
	}
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(command + "-" + variant + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(k.dir, command+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return k
}

// command is that of iptables for the family.
func (k stand) command() string {
	if k.Family == model.IPv6 {
		return "ip6tables"
	}
	return "iptables"
}

func (k stand) backend(t *testing.T) *Backend {
	t.Helper()
	b, err := New(firewall.Config{Dir: k.dir, Warn: func(f string, a ...any) { t.Errorf("warning: "+f, a...) }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// save is iptables-save of the table filter.
func (k stand) save(h *nettest.Host) string {
	return h.Run(filepath.Join(k.dir, k.command()+"-save"), "-t", "filter")
}

// do runs iptables commands, one for each line. They go through one iptables-restore:
// a process for each command is most of the time that a test takes.
func (k stand) do(h *nettest.Host, lines string) {
	var input strings.Builder
	open := ""
	for line := range strings.Lines(k.in(lines)) {
		table, command := "filter", strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(command, "-t "); ok {
			table, command, _ = strings.Cut(rest, " ")
		}
		if command != "" && table != open {
			input.WriteString(commitLine(open) + "*" + table + "\n")
			open = table
		}
		input.WriteString(command + "\n")
	}
	input.WriteString(commitLine(open))
	h.Feed(input.String(), filepath.Join(k.dir, k.command()+"-restore"), "--noflush")
}

// commitLine ends a table, if there is one.
func commitLine(table string) string {
	if table == "" {
		return ""
	}
	return "COMMIT\n"
}

// docker2010 makes the chains and rules that Docker 20.10 has for its default bridge
// with one container that publishes host port 8017 as 172.17.0.2:80.
func (k stand) docker2010(h *nettest.Host) {
	k.do(h, `
		-P FORWARD DROP
		-N DOCKER
		-N DOCKER-ISOLATION-STAGE-1
		-N DOCKER-ISOLATION-STAGE-2
		-N DOCKER-USER
		-A FORWARD -j DOCKER-USER
		-A FORWARD -j DOCKER-ISOLATION-STAGE-1
		-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-A FORWARD -o docker0 -j DOCKER
		-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
		-A FORWARD -i docker0 -o docker0 -j ACCEPT
		-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
		-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
		-A DOCKER-ISOLATION-STAGE-1 -j RETURN
		-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
		-A DOCKER-ISOLATION-STAGE-2 -j RETURN
		-A DOCKER-USER -j RETURN
		-t nat -N DOCKER
		-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
		-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		-t nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
		-t nat -A DOCKER -i docker0 -j RETURN
		-t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8017 -j DNAT --to-destination 172.17.0.2:80
	`)
}

// docker285 is docker2010 as Docker 28.5 has it.
func (k stand) docker285(h *nettest.Host) {
	k.do(h, `
		-P FORWARD DROP
		-N DOCKER
		-N DOCKER-BRIDGE
		-N DOCKER-CT
		-N DOCKER-FORWARD
		-N DOCKER-ISOLATION-STAGE-1
		-N DOCKER-ISOLATION-STAGE-2
		-N DOCKER-USER
		-A FORWARD -j DOCKER-USER
		-A FORWARD -j DOCKER-FORWARD
		-A DOCKER-FORWARD -j DOCKER-CT
		-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
		-A DOCKER-FORWARD -j DOCKER-BRIDGE
		-A DOCKER-FORWARD -i docker0 -j ACCEPT
		-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-A DOCKER-BRIDGE -o docker0 -j DOCKER
		-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
		-A DOCKER ! -i docker0 -o docker0 -j DROP
		-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
		-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
		-t raw -A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
		-t nat -N DOCKER
		-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
		-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		-t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8017 -j DNAT --to-destination 172.17.0.2:80
	`)
}

// docker29 is docker2010 as Docker 29 has it: without a list of its bridges.
func (k stand) docker29(h *nettest.Host) {
	k.docker285(h)
	k.do(h, `
		-D DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
		-F DOCKER-ISOLATION-STAGE-1
		-F DOCKER-ISOLATION-STAGE-2
		-X DOCKER-ISOLATION-STAGE-1
		-X DOCKER-ISOLATION-STAGE-2
		-N DOCKER-INTERNAL
		-I DOCKER-FORWARD 2 -j DOCKER-INTERNAL
	`)
}

// dockers are the layouts of Docker's chains: that of 20.10, which has no DOCKER-USER
// for IPv6, that of 28.5, and that of 29.
func (k stand) dockers() map[string]func(*nettest.Host) {
	return map[string]func(*nettest.Host){
		"20.10": k.docker2010,
		"20.10, no DOCKER-USER": func(h *nettest.Host) {
			k.docker2010(h)
			k.do(h, "-D FORWARD -j DOCKER-USER\n-F DOCKER-USER\n-X DOCKER-USER")
		},
		"28.5": k.docker285,
		"28.5, no DOCKER-USER": func(h *nettest.Host) {
			k.docker285(h)
			k.do(h, "-D FORWARD -j DOCKER-USER\n-X DOCKER-USER")
		},
		"29": k.docker29,
		"29, no DOCKER-USER": func(h *nettest.Host) {
			k.docker29(h)
			k.do(h, "-D FORWARD -j DOCKER-USER\n-X DOCKER-USER")
		},
	}
}
