package parity

import (
	"fmt"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// The files of Compose 2: no version, names with dashes, profiles, health checks that
// depends_on waits for.

const shop2 = `
services:
  db:
    image: guest
    command: serve tcp:5432
    hostname: db
    networks: {back: {ipv4_address: 172.31.0.30}}
    healthcheck: {test: [CMD, /guest, get, tcp, "127.0.0.1:5432"], interval: 1s, start_interval: 200ms, start_period: 30s}
  web:
    image: guest
    command: serve tcp:80 udp:80
    hostname: web
    depends_on: {db: {condition: service_healthy}}
    ports:
      - "8088:80"
      - {target: 80, published: "8053", protocol: udp, mode: host}
      - "127.0.0.1:8089:80"
    networks:
      front: {ipv4_address: 172.30.0.10, ipv6_address: "fd00:30::10", aliases: [www]}
      back: {ipv4_address: 172.31.0.10, aliases: [stock]}
  box:
    image: guest
    command: sleep
    hostname: box
    networks: {front: {ipv4_address: 172.30.0.20, ipv6_address: "fd00:30::20"}}
  debug:
    image: guest
    command: sleep
    hostname: debug
    profiles: [debug]
    networks: {back: {ipv4_address: 172.31.0.40}}
networks:
  front:
    driver: DRIVER
    enable_ipv6: true
    driver_opts: {com.docker.network.bridge.name: shop0}
    ipam: {config: [{subnet: 172.30.0.0/24}, {subnet: "fd00:30::/64"}]}
  back:
    driver: DRIVER
    internal: true
    ipam: {config: [{subnet: 172.31.0.0/24}]}
`

const replicas2 = `
services:
  app:
    image: guest
    command: serve tcp:80
    deploy: {replicas: 3}
    ports: ["80"]
    networks: {front: {aliases: [pool]}}
  ben:
    container_name: ben
    hostname: ben
    image: guest
    command: sleep
    networks: {front: {ipv4_address: 172.18.9.9}}
networks:
  front:
    driver: DRIVER
    ipam: {config: [{subnet: 172.18.0.0/16}]}
`

// compose2Scenarios are those of Compose 2, which the releases with the newer engines have.
func compose2Scenarios() []scenario {
	const compose = "Docker Compose 2"
	const web, box, db, debug = "shop-web-1", "shop-box-1", "shop-db-1", "shop-debug-1"
	shop := func(s *stage) {
		s.reach(from("lan", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8053", "tcp 192.0.2.2:8089", "tcp [2001:db8::2]:8088"),
			from("host", "tcp 127.0.0.1:8088", "tcp 127.0.0.1:8089"),
			from(box, "tcp 172.30.0.10:80", "tcp [fd00:30::10]:80", "tcp 172.31.0.30:5432", "ping 192.0.2.9"),
			from(db, "tcp 172.31.0.10:80", "ping 192.0.2.9", "tcp 192.0.2.2:8088"))
		s.resolve(box, "web", "www", web, "db")
		s.resolve(db, "web", "stock", "www", "box")
	}
	networks := func(s *stage) {
		s.output("network", "ls", "--filter", "type=custom", "--format", "{{.Name}} {{.Internal}} {{.IPv6}}")
	}
	return []scenario{
		{name: "compose2/up, restart, down", feature: compose, needs: fromCompose2, play: func(s *stage) {
			p := s.compose2(shop2)
			p.up(web, db)
			networks(s)
			s.host("shop_front")
			s.host("shop_back")
			shop(s)
			p.do("restart", "-t", "0")
			running(s, web, db)
			shop(s)
			p.up(web, db) // nothing has changed
			p.do("up", "-d", "-t", "0", "--force-recreate", "web")
			running(s, web, db)
			shop(s)
			p.do("down", "-t", "0")
			networks(s)
		}, differs: internalBridge("shop_back", "172.31.0.1/24")},
		{name: "compose2/profiles and health checks", feature: compose, needs: fromCompose2, full: true, play: func(s *stage) {
			p := s.compose2(shop2)
			p.do("--profile", "debug", "up", "-d", "--wait", "-t", "0")
			states(s, web, db, box, debug)
			s.output("inspect", "-f", "{{.State.Health.Status}}", db)
			s.resolve(debug, "web", "stock", "db")
			s.reach(from(debug, "tcp 172.31.0.10:80", "ping 192.0.2.9"))
			p.do("--profile", "debug", "stop", "-t", "0", "debug")
			p.do("--profile", "debug", "rm", "-f", "debug")
			states(s, web, db, box)
			shop(s)
			p.do("kill", "web")
			p.do("start", "web")
			running(s, web)
			shop(s)
			p.do("down", "-t", "0")
			networks(s)
		}},
		{name: "compose2/scale", feature: compose, needs: fromCompose2, full: true, play: func(s *stage) {
			p := s.compose2(replicas2)
			p.up("shop-app-1", "shop-app-2", "shop-app-3")
			addressesOf(s, "app", "pool")
			p.do("scale", "app=5")
			running(s, "shop-app-4", "shop-app-5")
			addressesOf(s, "app", "pool")
			portsLeadTo(s, "shop-app-4", "shop-app-5")
			p.do("up", "-d", "-t", "0", "--scale", "app=1")
			addressesOf(s, "app", "pool")
			portsLeadTo(s, "shop-app-1")
			p.do("down", "-t", "0")
		}},
		{name: "compose2/a network is changed", feature: compose, needs: fromCompose2, full: true, play: func(s *stage) {
			p := s.compose2(shop2)
			p.up(web, db)
			p.change("172.30.0.", "172.28.0.", "internal: true", "internal: false")
			p.up(web, db) // Compose makes networks anew whose settings have changed
			networks(s)
			s.reach(from(box, "tcp 172.28.0.10:80", "ping 192.0.2.9"), from(db, "ping 192.0.2.9"), from("lan", "tcp 192.0.2.2:8088"))
			p.do("down", "-t", "0", "--remove-orphans")
			networks(s)
		}},
	}
}

// portsLeadTo adds a fact for each container: whether its published port leads to it. Compose
// starts replicas at once, so that their addresses differ from run to run.
func portsLeadTo(s *stage, containers ...string) {
	for _, c := range containers {
		value := "not published"
		if port, err := s.published(c, "80/tcp"); err == nil {
			o := s.w.LAN.Get("tcp", world.HostAddr+":"+port)
			value = fmt.Sprint(o.Code == report.Answered && o.Answer.Server.Addr().String() == s.w.Addr(c, "shop_front"))
		}
		s.fact("the port of "+c+" leads to it", value)
	}
}

// addressesOf adds a fact for each name: how many addresses it has.
func addressesOf(s *stage, names ...string) {
	for _, name := range names {
		s.fact("addresses of "+name, fmt.Sprint(addresses(s, name)))
	}
}
