package parity

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

// patterns is what differs from run to run in any text, and what stands for it.
type patterns []struct {
	find *regexp.Regexp
	by   string
}

func randomParts() patterns {
	return patterns{
		{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "ID"},
		{regexp.MustCompile(`\bbr-[0-9a-f]{12}\b`), "br-ID"},
		{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "ID"},
		{regexp.MustCompile(`\bveth[0-9a-f]{7,11}\b`), "vethX"},
		// Made of a random MAC address (RFC 4291, appendix A).
		{regexp.MustCompile(`\bfe80::[0-9a-f:]*ff:fe[0-9a-f:]+\b`), "fe80::EUI64"},
		// A subnet that was not given is a random one of fd00::/8 (RFC 4193).
		{regexp.MustCompile(`\bfd[0-9a-f]{2}:[0-9a-f]{1,4}:[0-9a-f]{1,4}::`), "ULA::"},
		{regexp.MustCompile(`/tmp/mybr-test-[^/ ]+/world-\d+`), "DIR"},
		// Of a port published in both families, either may be found taken first.
		{regexp.MustCompile(`Bind for :::`), "Bind for 0.0.0.0:"},
		{regexp.MustCompile(`"?pid"?[ =:]\d+`), "pid"},
	}
}

// normal replaces what is random in a text.
func normal(s string) string {
	for _, p := range randomParts() {
		s = p.find.ReplaceAllString(s, p.by)
	}
	return s
}

// normalPort says "ephemeral" of a port out of the kernel's range (ip(7)).
func normalPort(port int) string {
	if port >= 32768 && port <= 60999 {
		return "ephemeral"
	}
	return fmt.Sprint(port)
}

// normalMAC says of which kind a MAC address is, of an interface with these addresses,
// unless the user gave it.
func normalMAC(mac string, addrs []netip.Prefix, given string) string {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 || strings.Contains(given, mac) {
		return mac
	}
	for _, a := range addrs {
		if a.Addr().Is4() {
			if b := a.Addr().As4(); hw.String() == net.HardwareAddr(append([]byte{2, 0x42}, b[:]...)).String() {
				return "made of the IPv4 address"
			}
		}
	}
	if hw[0]&3 == 2 {
		return "random"
	}
	return mac
}

// wrappings is what dockerd, its client and mybr put before the words that matter, each at the
// beginning of what is left.
func wrappings() *regexp.Regexp {
	return regexp.MustCompile(`^(docker: |Error response from daemon: |remote: |plugin: |` +
		`Network(Driver)?\.\w+: |IpamDriver\.\w+: |create network( ID)?: |` +
		`failed to set up container networking: |failed to create endpoint \S+ on network \S+: |` +
		`driver failed programming external connectivity on endpoint \S+ \(ID\): |` +
		`Cannot (re)?start container \S+: |Error: failed to start containers: \S+$)`)
}

// core is the part of an error message that the driver is to answer for.
func core(message string) string {
	var lines []string
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "See 'docker") && !strings.HasPrefix(line, "Run 'docker") && !strings.HasPrefix(line, "Error: failed to start") {
			lines = append(lines, line)
		}
	}
	text, wrapping := normal(strings.Join(lines, " ")), wrappings()
	for wrapping.MatchString(text) {
		text = wrapping.ReplaceAllString(text, "")
	}
	return strings.TrimSuffix(text, ".")
}

// alike compares the built-in driver's value with mybr's. Of messages, the built-in
// driver's must be part of mybr's.
func alike(builtin, mybr string) bool {
	if builtin == mybr {
		return true
	}
	message := regexp.MustCompile(`^(exit code \d+: )(.+)$`)
	b, m := message.FindStringSubmatch(builtin), message.FindStringSubmatch(mybr)
	return b != nil && m != nil && b[1] == m[1] && strings.Contains(m[2], b[2])
}
