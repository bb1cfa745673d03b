package parity

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// stage is where a scenario plays: a world, and the facts so far. Its methods are for
// one goroutine.
type stage struct {
	w       *world.World
	t       *actor
	engine  string
	driver  string        // what to give to docker network create -d
	timeout time.Duration // for a probe
	ours    []string      // what networks are created with on mybr alone

	mu     sync.Mutex
	facts  map[string]string
	log    []string // the commands, to explain a difference
	given  string   // all arguments of the user's: MAC addresses in there aren't random
	before footprint
	undo   []func() // what clear calls, the last first
	oracle *oracle  // nil: nothing is predicted
}

func newStage(w *world.World, t *actor, engine string, timeout time.Duration) *stage {
	s := &stage{w: w, t: t, engine: engine, driver: w.Driver, timeout: timeout, facts: map[string]string{}}
	s.before = s.footprint()
	return s
}

// fact adds a fact. A key that is there already gets a number; nothing to see is "none".
func (s *stage) fact(key, value string) {
	if value == "" {
		value = "none"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, first := 2, key; ; n++ {
		if _, there := s.facts[key]; !there {
			break
		}
		key = fmt.Sprintf("%s (%d)", first, n)
	}
	s.facts[key] = value
}

// words is a command line as it stands in a fact's key: the driver is DRIVER.
func (s *stage) words(args []string) string {
	out := slices.Clone(args)
	for i, a := range out {
		if a == s.driver {
			out[i] = "DRIVER"
		}
	}
	return normal(strings.Join(out, " "))
}

// docker runs a docker command; the fact is its exit code and, if it fails, its message.
func (s *stage) docker(args ...string) world.Result { return s.dockerAs(args, args) }

// dockerAs is docker with other arguments in the fact.
func (s *stage) dockerAs(shown, args []string) world.Result {
	r := s.try(args...)
	value := "ok"
	if r.Code != 0 {
		value = fmt.Sprintf("exit code %d: %s", r.Code, core(r.Err))
	}
	s.fact("docker "+s.words(shown), value)
	return r
}

// output is docker, and what the command prints is part of the fact.
func (s *stage) output(args ...string) string {
	r := s.try(args...)
	value := "ok: " + normal(strings.Join(strings.Fields(r.Out), " "))
	if r.Code != 0 {
		value = fmt.Sprintf("exit code %d: %s", r.Code, core(r.Err))
	}
	s.fact("docker "+s.words(args), value)
	return strings.TrimSpace(r.Out)
}

// try runs a docker command that is no fact.
func (s *stage) try(args ...string) world.Result {
	line := strings.Join(args, " ")
	s.given += " " + line
	r := s.w.DockerTry(args...)
	s.log = append(s.log, strings.TrimSpace(fmt.Sprintf("docker %s → %d %s", line, r.Code, strings.TrimSpace(r.Err))))
	return r
}

// network creates a network of the driver and tells whether that went well.
func (s *stage) network(name string, args ...string) bool {
	return s.networkWith(s.ours, name, args...)
}

// networkWith creates a network of the driver with arguments for mybr alone, which are not to
// be seen in the fact.
func (s *stage) networkWith(ours []string, name string, args ...string) bool {
	create, args := []string{"network", "create", "-d", s.driver}, append(slices.Clone(args), name)
	if s.driver != "mybr" {
		ours = nil
	}
	return s.dockerAs(slices.Concat(create, args), slices.Concat(create, ours, args)).Code == 0
}

// option is the arguments that set one of Docker's options of a network.
func option(key, value string) []string {
	return []string{"-o", "com.docker.network." + key + "=" + value}
}

// idle runs a container that does nothing, with these arguments of docker run.
func (s *stage) idle(name string, args ...string) bool {
	return s.run(name, []string{"sleep"}, args)
}

// serve runs a container with servers, such as "tcp:80 udp:80", and waits until they
// listen.
func (s *stage) serve(name, servers string, args ...string) bool {
	if !s.run(name, append([]string{"serve"}, strings.Fields(servers)...), args) {
		return false
	}
	s.w.Ready(name)
	return true
}

func (s *stage) run(name string, command, args []string) bool {
	all := slices.Concat([]string{"run", "-d", "--name", name, "--hostname", name}, args, []string{world.Image}, command)
	r := s.try(all...)
	value := "ok"
	if r.Code != 0 {
		value = fmt.Sprintf("exit code %d: %s", r.Code, core(r.Err))
	}
	s.fact(strings.TrimRight("docker run "+name+" "+s.words(args), " "), value)
	return r.Code == 0
}

// place finds host, lan, lan2 or a container that runs; none if it doesn't.
func (s *stage) place(name string) *world.Place {
	switch name {
	case "host":
		return s.w.Host
	case "lan":
		return s.w.LAN
	case "lan2":
		return s.w.LANs[1]
	}
	if !s.w.Running(name) {
		return nil
	}
	return s.w.Container(name)
}

// on runs a command in a place, one that prepares the scene and must not fail.
func (s *stage) on(place string, argv ...string) string {
	s.mu.Lock()
	s.log = append(s.log, place+": "+strings.Join(argv, " "))
	s.mu.Unlock()
	p := s.place(place)
	if p == nil {
		s.t.Fatalf("%s doesn't run: %s", place, strings.Join(argv, " "))
	}
	return p.Run(argv...)
}

// afterwards runs a command in the host or a LAN host once containers and networks are
// removed, to undo what on did. It may fail.
func (s *stage) afterwards(place string, argv ...string) {
	p := s.place(place)
	s.undo = append(s.undo, func() { p.Try(argv...) })
}

// route leads the packets of a LAN host for a subnet to the world's host.
func (s *stage) route(place, subnet string) {
	via := world.HostAddr
	if strings.Contains(subnet, ":") {
		via = world.HostAddr6
	}
	s.on(place, "ip", "route", "replace", subnet, "via", via)
	s.afterwards(place, "ip", "route", "del", subnet, "via", via)
}

// listen runs servers in the host or on a LAN host until the end of the play.
func (s *stage) listen(place string, servers ...string) {
	proc := s.place(place).Start(append([]string{"guest", "serve"}, servers...)...)
	s.undo = append(s.undo, func() { proc.Stop() })
}

// containerInfo is what docker inspect says of a container.
type containerInfo struct {
	NetworkSettings struct {
		Networks map[string]struct {
			IPAddress, GlobalIPv6Address, Gateway, IPv6Gateway, NetworkID, EndpointID string
		}
	}
}

func (s *stage) inspect(container string) (info containerInfo) {
	s.w.API("/containers/"+container+"/json", &info)
	return info
}

// resolveAddr replaces the braces in what a probe asks for: {web} is the IPv4 address of
// container web on its first network by name, {web@n1} that on network n1, {web6} and
// {web6@n1} the IPv6 addresses, {port web 80/tcp} the host port that was chosen.
func (s *stage) resolveAddr(text string) (string, error) {
	for {
		before, rest, found := strings.Cut(text, "{")
		if !found {
			return text, nil
		}
		inside, after, _ := strings.Cut(rest, "}")
		value, err := s.placeholder(inside)
		if err != nil {
			return "", err
		}
		if strings.Contains(value, ":") && strings.HasPrefix(after, ":") {
			value = "[" + value + "]"
		}
		text = before + value + after
	}
}

func (s *stage) placeholder(inside string) (string, error) {
	switch words := strings.Fields(inside); words[0] {
	case "port":
		return s.published(words[1], words[2])
	case "ll":
		return s.linkLocal(words[1], words[2])
	case "mac":
		return s.station(words[1], words[2])
	}
	container, network, _ := strings.Cut(inside, "@")
	name, six := strings.CutSuffix(container, "6")
	networks := s.inspect(name).NetworkSettings.Networks
	if network == "" && len(networks) > 0 {
		network = slices.Min(slices.Collect(maps.Keys(networks)))
	}
	addr := networks[network].IPAddress
	if six {
		addr = networks[network].GlobalIPv6Address
	}
	if addr == "" {
		return "", fmt.Errorf("%s has no such address", name)
	}
	return addr, nil
}

// published finds the host port that a container's port, such as 80/tcp, got.
func (s *stage) published(container, port string) (string, error) {
	if s.driver != "mybr" {
		r := s.w.DockerTry("port", container, port)
		line, _, _ := strings.Cut(r.Out, "\n")
		if i := strings.LastIndexByte(line, ':'); r.Code == 0 && i >= 0 {
			return line[i+1:], nil
		}
		return "", fmt.Errorf("%s of %s is not published", port, container)
	}
	all, err := plugin.Client{RunDir: s.w.Path("/run/mybr")}.View(ctx())
	if err != nil {
		s.t.Fatalf("mybr ports: %v", err)
	}
	endpoints := map[string]bool{}
	for _, n := range s.inspect(container).NetworkSettings.Networks {
		endpoints[n.EndpointID] = true
	}
	number, proto, _ := strings.Cut(port, "/")
	for _, p := range all.Ports {
		for i := range p.Count {
			if p.Carried != view.Directly && endpoints[p.Endpoint] && p.Proto == proto && fmt.Sprint(p.Container.Port()+i) == number {
				return fmt.Sprint(p.Host.Port() + i), nil
			}
		}
	}
	return "", fmt.Errorf("%s of %s is not published", port, container)
}

// row is what one place asks: its name, then targets such as "tcp 192.0.2.2:80",
// "udp 192.0.2.2:80 from 5000" (the source port, which no other target of the row and of
// the protocol may have: they are asked at once) and "ping {web}".
type row []string

func from(place string, targets ...string) row { return append(row{place}, targets...) }

// reach asks all targets of all rows at once. The facts tell how each fared: who
// answered at which address and how the server saw the client; refused; timed out;
// unreachable.
func (s *stage) reach(rows ...row) {
	var all sync.WaitGroup
	scene := s.oracle.scene()
	for _, r := range rows {
		p := s.place(r[0])
		var keys []string
		var probes []report.Probe
		for _, target := range r[1:] {
			key := "reach " + r[0] + " → " + target
			probe, err := s.probe(target)
			if p == nil {
				err = fmt.Errorf("%s doesn't run", r[0])
			}
			if err != nil {
				s.fact(key, err.Error())
				continue
			}
			keys, probes = append(keys, key), append(probes, probe)
		}
		if len(probes) == 0 {
			continue
		}
		all.Add(1)
		go func() {
			defer all.Done()
			s.t.do(func() {
				predicted := s.oracle.predict(scene, r[0], probes)
				outcomes := p.Probe(probes...)
				for i, o := range outcomes {
					s.fact(keys[i], normal(outcome(probes[i], o)))
				}
				s.oracle.compareAll(r[0], keys, probes, predicted, outcomes)
			})
		}()
	}
	all.Wait()
	if s.t.Failed() {
		s.t.Fatalf("the probes could not be made")
	}
}

func (s *stage) probe(target string) (report.Probe, error) {
	what, port, withPort := strings.Cut(target, " from ")
	network, to, ok := strings.Cut(what, " ")
	if !ok {
		s.t.Fatalf("target %q: want NETWORK ADDRESS", target)
	}
	p := report.Probe{Network: network, Timeout: s.timeout}
	if withPort {
		if _, err := fmt.Sscan(port, &p.SourcePort); err != nil {
			s.t.Fatalf("target %q: %v", target, err)
		}
	}
	var err error
	p.To, err = s.resolveAddr(to)
	return p, err
}

// outcome is how a probe fared, in words.
func outcome(p report.Probe, o report.Outcome) string {
	switch o.Code {
	case report.Answered:
		if p.Network == "ping" {
			return fmt.Sprintf("answered by %v, TTL %d", o.Pong.From, o.Pong.TTL)
		}
		text := fmt.Sprintf("answered by %s at %v, client seen as %v", serverName(o.Answer.Name), o.Answer.Server, o.Answer.Client.Addr())
		if p.SourcePort != 0 {
			text += ":" + normalPort(int(o.Answer.Client.Port()))
		}
		if o.Answer.TTL != 0 {
			text += fmt.Sprintf(", TTL %d", o.Answer.TTL)
		}
		return text
	case report.Refused:
		return "refused"
	case report.TimedOut:
		return timedOut
	case report.Unreachable:
		return "unreachable"
	}
	return o.Err
}

// serverName is a container's name. A server of the host's or the LAN's bears the name
// of the machine that the test runs on.
func serverName(name string) string {
	if machine, err := os.Hostname(); err == nil && name == machine {
		return "no container"
	}
	return name
}

const timedOut = "timed out"
