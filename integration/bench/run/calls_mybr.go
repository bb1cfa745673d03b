package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mybr/mybr/integration/ask"
)

// caller asks mybr as Docker does, so that nothing of what is measured is Docker's.
type caller struct{ mybr *ask.Mybr }

// pluginSocket is where mybr listens for Docker.
const pluginSocket = "/run/docker/plugins/mybr.sock"

// ask makes one call.
func (c *caller) ask(method string, body, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.mybr.Call(ctx, method, body, into)
}

// id is an ID as Docker's are.
func id(kind string, n int) string { return fmt.Sprintf("%08x%s%052d", n+1, kind, 0) }

// network makes the nth network, with room for 65,000 endpoints.
func (c *caller) network(n int) error {
	return c.ask("NetworkDriver.CreateNetwork", object{"NetworkID": id("beef", n), "Options": object{}, "IPv4Data": []object{{
		"AddressSpace": "LocalDefault", "Pool": fmt.Sprintf("10.%d.0.0/16", 100+n), "Gateway": fmt.Sprintf("10.%d.0.1/16", 100+n)}}}, nil)
}

// endpoint is the nth endpoint of a network.
type endpoint struct{ network, n int }

func (e endpoint) body(more object) object {
	body := object{"NetworkID": id("beef", e.network), "EndpointID": id("cafe", e.network<<16|e.n)}
	for name, value := range more {
		body[name] = value
	}
	return body
}

// create and join are the first calls of an attach: behind them Docker takes the
// container's end away from the host.
func (c *caller) create(e endpoint) error {
	address := fmt.Sprintf("10.%d.%d.%d/16", 100+e.network, 1+e.n/250, 2+e.n%250)
	return c.ask("NetworkDriver.CreateEndpoint", e.body(object{"Interface": object{"Address": address}}), nil)
}

// join gives the name of the container's end.
func (c *caller) join(e endpoint) (string, error) {
	var answer struct{ InterfaceName struct{ SrcName string } }
	sandbox := fmt.Sprintf("/var/run/docker/netns/%d-%d", e.network, e.n)
	err := c.ask("NetworkDriver.Join", e.body(object{"SandboxKey": sandbox, "Options": object{}}), &answer)
	return answer.InterfaceName.SrcName, err
}

// publish is ProgramExternalConnectivity with so many TCP ports from first on.
func (c *caller) publish(e endpoint, first, count int) error {
	bound := make([]object, count)
	for i := range bound {
		bound[i] = object{"Proto": 6, "Port": first + i, "HostPort": first + i, "HostPortEnd": first + i}
	}
	return c.ask("NetworkDriver.ProgramExternalConnectivity", e.body(object{"Options": object{"com.docker.network.portmap": bound}}), nil)
}

func (c *caller) revoke(e endpoint) error {
	return c.ask("NetworkDriver.RevokeExternalConnectivity", e.body(nil), nil)
}

func (c *caller) leave(e endpoint) error { return c.ask("NetworkDriver.Leave", e.body(nil), nil) }

func (c *caller) delete(e endpoint) error {
	return c.ask("NetworkDriver.DeleteEndpoint", e.body(nil), nil)
}

// fill makes endpoints 0 to count-1 of a network, with their ends in the pod.
func (s *session) fill(sub *subject, network, count int) {
	s.must(each(16, count, func(n int) error {
		e := endpoint{network, n}
		if err := sub.mybr.create(e); err != nil {
			return err
		}
		inside, err := sub.mybr.join(e)
		if err != nil {
			return err
		}
		return sub.toPod(inside)
	}))
}

// pod makes the namespace where container's ends go.
func (s *session) pod(sub *subject) {
	sub.w.Host.Run("ip", "netns", "add", "pod")
	var err error
	sub.podFile, err = openNetns(sub.w, "pod")
	s.must(err)
	s.Cleanup(func() { sub.podFile.Close() })
}

// toPod does with a container's end what Docker does behind Join.
func (sub *subject) toPod(inside string) error {
	link, err := sub.w.Host.Handle().LinkByName(inside)
	if err != nil {
		return fmt.Errorf("%s: %w", inside, err)
	}
	return sub.w.Host.Handle().LinkSetNsFd(link, int(sub.podFile.Fd()))
}

// callers are mybr's drivers on the newest engine, each with a pod and a network, under a
// name of the row's: they are nobody else's, and are closed by s.close.
func (s *session) callers(count int) (all []*subject) {
	for range count {
		for _, driver := range s.mybrs() {
			sub := s.newSubject(newestEngine, driver)
			sub.mybr = &caller{ask.New(sub.w.Path(pluginSocket), 64)}
			s.pod(sub)
			s.must(sub.mybr.network(0))
			all = append(all, sub)
		}
	}
	return all
}
