package firewalltest

import "github.com/mybr/mybr/internal/nettest"

// Docker2010 makes the chains and rules that Docker 20.10 has for its default bridge
// with one container that publishes host port 8017 as 172.17.0.2:80.
func (s Stand) Docker2010(h *nettest.Host) {
	s.Do(h, `
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

// Docker285 is Docker2010 as Docker 28.5 has it.
func (s Stand) Docker285(h *nettest.Host) {
	s.Do(h, `
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

// Docker29 is Docker2010 as Docker 29 has it: without a list of its bridges.
func (s Stand) Docker29(h *nettest.Host) {
	s.Docker285(h)
	s.Do(h, `
		-D DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
		-F DOCKER-ISOLATION-STAGE-1
		-F DOCKER-ISOLATION-STAGE-2
		-X DOCKER-ISOLATION-STAGE-1
		-X DOCKER-ISOLATION-STAGE-2
		-N DOCKER-INTERNAL
		-I DOCKER-FORWARD 2 -j DOCKER-INTERNAL
	`)
}

// Dockers are the layouts of Docker's chains: that of 20.10, which has no DOCKER-USER
// for IPv6, that of 28.5, and that of 29.
func (s Stand) Dockers() map[string]func(*nettest.Host) {
	return map[string]func(*nettest.Host){
		"20.10": s.Docker2010,
		"20.10, no DOCKER-USER": func(h *nettest.Host) {
			s.Docker2010(h)
			s.Do(h, "-D FORWARD -j DOCKER-USER\n-F DOCKER-USER\n-X DOCKER-USER")
		},
		"28.5": s.Docker285,
		"28.5, no DOCKER-USER": func(h *nettest.Host) {
			s.Docker285(h)
			s.Do(h, "-D FORWARD -j DOCKER-USER\n-X DOCKER-USER")
		},
		"29": s.Docker29,
		"29, no DOCKER-USER": func(h *nettest.Host) {
			s.Docker29(h)
			s.Do(h, "-D FORWARD -j DOCKER-USER\n-X DOCKER-USER")
		},
	}
}
