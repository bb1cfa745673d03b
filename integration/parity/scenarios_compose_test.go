package parity

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// project is a Compose file, in which DRIVER stands for the driver: nothing else in it
// depends on that.
type project struct {
	s    *stage
	file string
	text string
	two  bool // Compose 2, of the engine's own release
}

// fromCompose2 is the first engine whose release is made with Compose 2.
const fromCompose2 = "28.5"

// composeProgram is Compose 1 on the machine, and Compose 2 in the root directory of
// another release.
const composeProgram = "/usr/bin/docker-compose"

// compose writes the file of a project for Compose 1, which is the machine's own on every
// engine. The scenario is skipped where there is none.
func (s *stage) compose(text string) project {
	if _, err := exec.LookPath(composeProgram); err != nil {
		s.t.Skipf("Debian's package docker-compose: %v", err)
	}
	return s.project(text, false)
}

// compose2 writes the file of a project for Compose 2.
func (s *stage) compose2(text string) project { return s.project(text, true) }

func (s *stage) project(text string, two bool) project {
	dir, err := os.MkdirTemp("", "mybr-compose-")
	if err != nil {
		s.t.Fatalf("make a project: %v", err)
	}
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	p := project{s: s, file: filepath.Join(dir, "compose.yaml"), text: text, two: two}
	p.change()
	return p
}

// change writes the file with replacements of its text: pairs of old and new.
func (p project) change(oldnew ...string) {
	text := strings.NewReplacer(append(oldnew, "DRIVER", p.s.driver)...).Replace(p.text)
	if err := os.WriteFile(p.file, []byte(text), 0o644); err != nil {
		p.s.t.Fatalf("write a project: %v", err)
	}
	p.s.given += text
}

// do runs docker-compose; the fact is its exit code and the line that tells of an error.
func (p project) do(args ...string) {
	all := append([]string{"-p", "shop", "-f", p.file}, args...)
	run := p.outside
	if p.two {
		run = p.inside
	}
	code, out := run(all)
	p.s.log = append(p.s.log, fmt.Sprintf("docker-compose %s → %d %s", strings.Join(args, " "), code, out))
	value := "ok"
	if code != 0 {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		value = fmt.Sprintf("exit code %d: %s", code, core(lines[len(lines)-1]))
	}
	p.s.fact("docker-compose "+strings.Join(args, " "), value)
}

// outside runs Compose 1, outside of the world.
func (p project) outside(args []string) (code int, out string) {
	ctx, cancel := context.WithTimeout(ctx(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, composeProgram, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + filepath.Dir(p.file), "DOCKER_HOST=unix://" + p.s.w.Path(p.s.w.DockerSocket())}
	text, _ := cmd.CombinedOutput() // the exit code tells of an error
	return cmd.ProcessState.ExitCode(), string(text)
}

// inside runs Compose 2, in the world.
func (p project) inside(args []string) (code int, out string) {
	r := p.s.w.Host.Try(append([]string{"env", "DOCKER_HOST=unix://" + p.s.w.DockerSocket(), composeProgram}, args...)...)
	return r.Code, r.Out + r.Err
}

// up starts the project and waits for the servers among its containers.
func (p project) up(servers ...string) {
	p.do("up", "-d", "-t", "0")
	running(p.s, servers...)
}

const severalNetworks = `
version: "2.4"
services:
  web:
    container_name: web
    hostname: web
    image: guest
    command: serve tcp:80 udp:80
    ports: ["8088:80", "8088:80/udp", "127.0.0.1:8089:80", "9000-9004:80-84"]
    networks:
      front: {ipv4_address: 172.30.0.10, aliases: [www]}
      back: {ipv4_address: 172.31.0.10, aliases: [stock]}
      vault: {ipv4_address: 172.29.0.10}
  box:
    container_name: box
    hostname: box
    image: guest
    command: sleep
    networks: {back: {ipv4_address: 172.31.0.20}, vault: {ipv4_address: 172.29.0.20}}
  db:
    container_name: db
    hostname: db
    image: guest
    command: serve tcp:5432
    networks: {vault: {ipv4_address: 172.29.0.30}}
networks:
  front:
    driver: DRIVER
    driver_opts: {com.docker.network.bridge.name: shop0, com.docker.network.driver.mtu: "1450"}
    ipam: {config: [{subnet: 172.30.0.0/24, gateway: 172.30.0.1, ip_range: 172.30.0.128/25}]}
  back:
    driver: DRIVER
    ipam: {config: [{subnet: 172.31.0.0/24}]}
  vault:
    driver: DRIVER
    internal: true
    ipam: {config: [{subnet: 172.29.0.0/24}]}
`

const defaultNetwork = `
version: "2.4"
services:
  web:
    container_name: web
    hostname: web
    image: guest
    command: serve tcp:80
    ports:
      - "8088:80"
  ben:
    container_name: ben
    hostname: ben
    image: guest
    command: sleep
    depends_on: [web]
networks:
  default:
    driver: DRIVER
    ipam: {config: [{subnet: 172.18.0.0/16}]}
`

const longPorts = `
version: "3.9"
services:
  web:
    container_name: web
    hostname: web
    image: guest
    command: serve tcp:80 udp:53
    ports:
      - {target: 80, published: 8088, protocol: tcp, mode: host}
      - {target: 53, published: 8053, protocol: udp, mode: host}
    expose: ["81"]
  ben:
    container_name: ben
    hostname: ben
    image: guest
    command: sleep
    depends_on: [web]
    extra_hosts: ["nas:192.0.2.77"]
    external_links: ["web:linked"]
networks:
  default:
    driver: DRIVER
    internal: false
    attachable: true
    labels: {stage: test}
    ipam: {config: [{subnet: 172.18.0.0/16}]}
`

const bothFamilies = `
version: "2.4"
services:
  web:
    container_name: web
    hostname: web
    image: guest
    command: serve tcp:80
    ports: ["8088:80"]
    networks:
      front: {ipv4_address: 172.18.0.10, ipv6_address: "fd00:18::10"}
  ben:
    container_name: ben
    hostname: ben
    image: guest
    command: sleep
    networks: {front: {ipv4_address: 172.18.0.20, ipv6_address: "fd00:18::20"}}
networks:
  front:
    driver: DRIVER
    enable_ipv6: true
    ipam: {config: [{subnet: 172.18.0.0/16}, {subnet: "fd00:18::/64"}]}
`

const replicas = `
version: "2.4"
services:
  app:
    image: guest
    command: serve tcp:80
    scale: 3
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

// composeScenarios take whole projects up and down, in whose files the driver's name is
// all that differs.
func composeScenarios() []scenario {
	const compose = "Docker Compose"
	several := func(s *stage) {
		s.reach(from("lan", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088", "tcp 192.0.2.2:9000", "tcp 192.0.2.2:9001", "tcp 192.0.2.2:8089"),
			from("host", "tcp 127.0.0.1:8088", "tcp 127.0.0.1:8089", "tcp 172.29.0.30:5432"),
			from("box", "tcp {web@shop_back}:80", "tcp 172.30.0.10:80", "tcp 172.29.0.30:5432", "tcp 192.0.2.2:8088", "ping 192.0.2.9"),
			from("db", "tcp {web@shop_vault}:80", "ping 192.0.2.9", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
		s.resolve("box", "stock", "web", "box", "db", "www")
		s.resolve("db", "box", "stock", "www")
		settings(s, "box", "shop_back")
	}
	noRoute := difference{engines: "20.10", key: "reach db → * 192.0.2.*", want: "unreachable", why: noDefault}
	return []scenario{
		{name: "compose/several networks", feature: compose, play: func(s *stage) {
			p := s.compose(severalNetworks)
			p.up("web", "db")
			several(s)
			for _, n := range []string{"shop_front", "shop_back", "shop_vault"} {
				s.host(n)
			}
			p.do("down", "-t", "0")
		}, differs: append(internalBridge("shop_vault", "172.29.0.1/24"), shownMAC(), noRoute)},
		{name: "compose/up, restart, down, up again", feature: compose, full: true, play: func(s *stage) {
			p := s.compose(severalNetworks)
			p.up("web", "db")
			p.do("restart", "-t", "0")
			running(s, "web", "db")
			several(s)
			p.do("stop", "-t", "0")
			p.do("start")
			running(s, "web", "db")
			p.do("down", "-t", "0")
			s.output("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}")
			p.up("web", "db")
			several(s)
			p.up("web", "db") // nothing has changed
			p.do("rm", "-f", "-s", "web")
			s.reach(from("lan", "tcp 192.0.2.2:8088", "tcp 192.0.2.2:9000"), from("box", "ping 192.0.2.9"))
			p.up("web", "db")
			several(s)
		}, differs: []difference{shownMAC(), noRoute}},
		{name: "compose/default network", feature: compose, full: true, play: func(s *stage) {
			p := s.compose(defaultNetwork)
			p.up("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("ben", "tcp {web}:80", "ping 192.0.2.9", "tcp 192.0.2.2:8088"))
			s.resolve("ben", "web", "ben")
			s.inside("ben")
			s.host("shop_default")
			p.do("kill")
			p.do("start")
			running(s, "web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
			p.do("down", "-t", "0")
		}},
		{name: "compose/long form of ports, aliases and links", feature: compose, full: true, play: func(s *stage) {
			p := s.compose(longPorts)
			p.up("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8053", "tcp 192.0.2.2:8053", "tcp 192.0.2.2:81"), from("ben", "tcp {web}:80"))
			s.resolve("ben", "web", "linked", "nas")
			s.output("network", "inspect", "-f", "{{.Attachable}} {{.Internal}} {{.Labels.stage}}", "shop_default")
			p.do("down", "-t", "0")
		}},
		{name: "compose/both families", feature: compose, full: true, since: fromDual, play: func(s *stage) {
			p := s.compose(bothFamilies)
			p.up("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088", "tcp [2001:db8::2]:8088"), from("ben", "tcp {web}:80", "tcp {web6}:80", "ping {web6}"), from("host", "tcp [::1]:8088"))
			s.resolve("ben", "web")
			settings(s, "web", "shop_front")
			s.host("shop_front")
			p.do("down", "-t", "0")
		}},
		{name: "compose/replicas", feature: compose, full: true, play: func(s *stage) {
			p := s.compose(replicas)
			p.up("shop_app_1", "shop_app_2", "shop_app_3")
			s.fact("addresses of app", fmt.Sprint(addresses(s, "app")))
			p.do("up", "-d", "-t", "0", "--scale", "app=5")
			s.fact("addresses of app", fmt.Sprint(addresses(s, "app")))
			s.fact("addresses of pool", fmt.Sprint(addresses(s, "pool")))
			p.do("up", "-d", "-t", "0", "--scale", "app=1")
			s.fact("addresses of app", fmt.Sprint(addresses(s, "app")))
			s.reach(from("ben", "ping 192.0.2.9"))
			p.do("down", "-t", "0")
		}},
		{name: "compose/network of somebody else's", feature: compose, full: true, play: func(s *stage) {
			s.network("lan", "--subnet", "172.18.0.0/16")
			s.idle("old", "--net", "lan")
			p := s.compose(strings.Split(defaultNetwork, "networks:")[0] + "networks: {default: {external: true, name: lan}}\n")
			p.up("web")
			s.reach(from("old", "tcp {web}:80"), from("lan", "tcp 192.0.2.2:8088"))
			s.resolve("old", "web", "ben")
			p.do("down", "-t", "0")
			s.output("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}")
		}},
		{name: "compose/port taken", feature: compose, full: true, play: func(s *stage) {
			s.serve("old", "tcp:80", "-p", "8088:80")
			p := s.compose(defaultNetwork)
			p.do("up", "-d")
			states(s, "web")
			s.docker("rm", "-f", "old")
			p.up("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("ben", "tcp {web}:80"))
			p.do("down", "-t", "0")
		}},
	}
}

// addresses is how many addresses a name has, as ben finds it.
func addresses(s *stage, name string) int {
	r := s.w.DockerTry("exec", "ben", "/guest", "resolve", name)
	return strings.Count(r.Out, ".") / 3
}
