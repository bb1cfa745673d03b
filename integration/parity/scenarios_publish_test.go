package parity

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// publicly is a web server on a network of its own, with these arguments of docker run, and a
// neighbour ben.
func publicly(s *stage, servers string, args ...string) {
	s.network("n0", "--subnet", "172.18.0.0/16")
	s.serve("web", servers, append([]string{"--net", "n0"}, args...)...)
	s.idle("ben", "--net", "n0")
}

// everywhere asks the same of the LAN, of the host at two of its addresses, of the
// neighbour and of the server itself: PROTO PORT…
func everywhere(s *stage, proto string, ports ...int) {
	var lan, host, ben, web []string
	for _, port := range ports {
		at := func(addr string) string { return fmt.Sprintf("%s %s:%d", proto, addr, port) }
		lan = append(lan, at("192.0.2.2"))
		host = append(host, at("192.0.2.2"), at("127.0.0.1"), at("172.18.0.1"), at("[::1]"))
		ben = append(ben, at("192.0.2.2"), at("172.18.0.1"))
		web = append(web, at("192.0.2.2"))
	}
	s.reach(from("lan", lan...), from("host", host...), from("ben", ben...), from("web", web...))
}

func publishScenarios() []scenario {
	const published = "Published ports"
	return []scenario{
		{name: "publish/tcp", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80", "-p", "8088:80")
			everywhere(s, "tcp", 8088, 8089)
			s.inside("web")
		}},
		{name: "publish/udp", feature: published, play: func(s *stage) {
			publicly(s, "udp:80", "-p", "8088:80/udp")
			everywhere(s, "udp", 8088)
		}, differs: []difference{
			{engines: "20.10 26.1", key: "reach ben → udp 192.0.2.2:8088", want: hairpinUDP, why: proxyUDP},
			{engines: "20.10 26.1", key: "reach web → udp 192.0.2.2:8088", want: hairpinUDP, why: proxyUDP},
		}},
		{name: "publish/tcp and udp", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80 udp:80", "-p", "8088:80", "-p", "8088:80/udp")
			s.reach(from("lan", "tcp 192.0.2.2:8088 from 5000", "udp 192.0.2.2:8088 from 5000"), from("host", "tcp 127.0.0.1:8088"))
		}},
		{name: "publish/sctp", feature: published, play: func(s *stage) {
			if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP); err == nil {
				unix.Close(fd)
				s.t.Skipf("this kernel has SCTP sockets: the built-in driver can publish it")
			}
			publicly(s, "tcp:80", "-p", "8088:80/sctp")
		}, differs: []difference{
			{key: "docker run web *", want: "ok", why: "the built-in driver needs SCTP sockets of the kernel's, which it hasn't got here; mybr's NAT doesn't"},
		}},
		{name: "publish/host port chosen", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80 udp:80", "-p", "80", "-p", "80/udp")
			s.reach(from("lan", "tcp 192.0.2.2:{port web 80/tcp}", "udp 192.0.2.2:{port web 80/udp}"), from("host", "tcp 127.0.0.1:{port web 80/tcp}"))
		}},
		{name: "publish/range", feature: published, play: func(s *stage) {
			publicly(s, "tcp:8000 tcp:8005 tcp:8009", "-p", "8000-8009:8000-8009")
			everywhere(s, "tcp", 8000, 8005, 8009, 8010)
		}},
		{name: "publish/shifted range", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80 tcp:85 tcp:89 udp:85", "-p", "8000-8009:80-89", "-p", "8000-8009:80-89/udp")
			everywhere(s, "tcp", 8000, 8005, 8009)
			s.reach(from("lan", "udp 192.0.2.2:8005"), from("host", "udp 192.0.2.2:8005"))
		}},
		{name: "publish/one of a range", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80", "-p", "8000-8002:80")
			s.serve("web2", "tcp:80", "--net", "n0", "-p", "8000-8002:80")
			s.serve("web3", "tcp:80", "--net", "n0", "-p", "8000-8002:80")
			s.idle("web4", "--net", "n0", "-p", "8000-8002:80")
			s.reach(from("lan", "tcp 192.0.2.2:8000", "tcp 192.0.2.2:8001", "tcp 192.0.2.2:8002"))
		}},
		{name: "publish/127.0.0.1", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80 udp:80", "-p", "127.0.0.1:8088:80", "-p", "127.0.0.1:8088:80/udp")
			everywhere(s, "tcp", 8088)
			s.reach(from("host", "udp 127.0.0.1:8088"), from("lan", "udp 192.0.2.2:8088"))
		}},
		{name: "publish/one host address", feature: published, play: func(s *stage) {
			secondAddress(s)
			publicly(s, "tcp:80", "-p", "192.0.2.3:8088:80")
			everywhere(s, "tcp", 8088)
			s.reach(from("lan", "tcp 192.0.2.3:8088"), from("host", "tcp 192.0.2.3:8088"), from("ben", "tcp 192.0.2.3:8088"))
		}},
		{name: "publish/same port at two host addresses", feature: published, play: func(s *stage) {
			secondAddress(s)
			publicly(s, "tcp:80", "-p", "192.0.2.3:8088:80")
			s.serve("web2", "tcp:80", "--net", "n0", "-p", "192.0.2.2:8088:80")
			s.idle("web3", "--net", "n0", "-p", "192.0.2.2:8088:80")
			s.reach(from("lan", "tcp 192.0.2.3:8088", "tcp 192.0.2.2:8088"))
		}},
		{name: "publish/all exposed", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80 udp:81", "-P", "--expose", "80", "--expose", "81/udp")
			s.reach(from("lan", "tcp 192.0.2.2:{port web 80/tcp}", "udp 192.0.2.2:{port web 81/udp}"))
		}},
		{name: "publish/one port twice", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80", "-p", "8088:80", "-p", "8089:80")
			everywhere(s, "tcp", 8088, 8089)
		}},
		{name: "publish/port of another container", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80", "-p", "8088:80")
			s.idle("rival", "--net", "n0", "-p", "8088:80")
			s.idle("rival2", "--net", "n0", "-p", "127.0.0.1:8088:80")
			s.idle("rival3", "--net", "n0", "-p", "8087-8089:87-89")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
		}, differs: []difference{
			{key: "docker run rival2 *", want: "exit code 125: Bind for 127.0.0.1:8088 failed: port is already allocated",
				why: "mybr names the address that was asked for"},
		}},
		{name: "publish/port of a process", feature: published, play: func(s *stage) {
			s.listen("host", "tcp:9999", "udp:192.0.2.2:9998")
			publicly(s, "tcp:80", "-p", "9999:80")
			s.idle("udp", "--net", "n0", "-p", "9998:80/udp")
			s.reach(from("lan", "tcp 192.0.2.2:9999", "udp 192.0.2.2:9998"))
		}},
		{name: "publish/address that the host hasn't", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80", "-p", "203.0.113.9:8088:80")
		}},
		{name: "publish/docker port", feature: published, play: func(s *stage) {
			publicly(s, "tcp:80", "-p", "8088:80")
			s.output("port", "web")
			s.output("ps", "--format", "{{.Names}} {{.Ports}}", "--filter", "name=web")
			s.output("inspect", "-f", "{{json .NetworkSettings.Ports}}", "web")
		}, differs: []difference{
			{key: "docker port web", want: "ok: ", why: noPorts},
			{key: "docker ps *", want: "ok: web", why: noPorts},
			{key: "docker inspect *", want: "ok: {}", why: noPorts},
		}},
	}
}

const (
	hairpinUDP = "answered by web at 172.18.0.2:80, client seen as 172.18.0.1, TTL 64"
	proxyUDP   = "a bug of the engine: docker-proxy answers from another address than was asked"
)

const noPorts = "the protocol has no answer in which a driver could tell Docker of the ports: mybr ports shows them"

// secondAddress gives the host 192.0.2.3 too.
func secondAddress(s *stage) {
	s.on("host", "ip", "addr", "add", "192.0.2.3/24", "dev", "eth0")
	s.afterwards("host", "ip", "addr", "del", "192.0.2.3/24", "dev", "eth0")
}
