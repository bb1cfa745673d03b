package host

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/mybr/mybr/internal/explain"
)

// Proxies are the ports that Docker's userland proxies of a namespace carry on, as their
// command lines say (docker-proxy -proto … -host-ip … -host-port … -container-ip … -container-port …).
func Proxies(p Place) (all []explain.Relay, err error) {
	if p.Path == "" {
		p.Path = "/proc/thread-self/ns/net"
	}
	here, err := inode(p.Path)
	if err != nil {
		return nil, err
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		words := bytes.Split(bytes.TrimRight(text, "\x00"), []byte{0})
		if filepath.Base(string(words[0])) != "docker-proxy" {
			continue
		}
		if n, err := inode(filepath.Dir(path) + "/ns/net"); err != nil || n != here {
			continue
		}
		flags := map[string]string{}
		for i := 1; i+1 < len(words); i++ {
			flags[string(words[i])] = string(words[i+1])
		}
		from, err1 := netip.ParseAddrPort(joined(flags["-host-ip"], flags["-host-port"]))
		to, err2 := netip.ParseAddrPort(joined(flags["-container-ip"], flags["-container-port"]))
		if err1 == nil && err2 == nil {
			all = append(all, explain.Relay{Proto: flags["-proto"], Listen: from, To: to, Process: "docker-proxy"})
		}
	}
	return all, nil
}

func joined(address, port string) string {
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() {
		address = "[" + address + "]"
	}
	return address + ":" + port
}
