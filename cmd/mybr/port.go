package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/docker"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

func newPort() *cobra.Command {
	return group(cobra.Command{
		Use:   "port",
		Short: "Change the published ports of containers that run",
	}, newPortAdd(), newPortRemove())
}

func newPortAdd() *cobra.Command {
	var s seer
	var network string
	c := commandWith(cobra.Command{
		Use:   "add [flags] CONTAINER [[ADDRESS:][HOST]:]PORT[/PROTOCOL]...",
		Short: "Publish more ports of a container that runs",
		Long: `add publishes ports of a container while it runs, as -p of docker run does at its start:
8080:80, 127.0.0.1:8080:80, [2001:db8::7]:8080:80/udp, 8000-8009:80-89/sctp. Without HOST
a port is chosen, and of a range for one port of the container the first that is free.
What was published is printed. If one of several can't be had, none is published.

A container is given by its name or by its endpoint's ID. Of several networks that one
publishes the ports that is the container's default route, as with docker run; --network
names another one, from which answers go by the default route all the same.

What is added is published until the container stops, and Docker does not know of it:
mybr ports shows it, and docker ps does by mybr docker-proxy.`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: s.completeBy(containerFirst(nil)),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.view(cmd)
		if err != nil {
			return err
		}
		names := s.names(cmd)
		v.Name(names.Containers, names.Networks)
		e, err := findPublisher(v, names.Gateways, args[0], network)
		if err != nil {
			return err
		}
		return s.changePorts(cmd, plugin.Ports{Network: e.Network, Endpoint: e.ID, Ports: args[1:]})
	})
	text(c.Flags(), &network, "network", "network", "", "which of the container's networks publishes them", func(string) error { return nil })
	s.askFlags(c)
	return c
}

func newPortRemove() *cobra.Command {
	var s seer
	c := commandWith(cobra.Command{
		Use:   "rm [flags] CONTAINER [[ADDRESS:][HOST]:]PORT[/PROTOCOL]...",
		Short: "Take away published ports of a container that runs",
		Long: `rm takes published ports of a container away while it runs: those that mybr port add has
published, and those that docker run -p has. The latter come back when the container is
started again; docker ps goes on showing them unless it asks mybr docker-proxy, and mybr
ports tells that they were taken away.

Ports are given as for add; an ADDRESS or HOST that is not given is any. If one of several
is not published, all stay.

Nothing begins by these ports any more. What is open ends at once where it is UDP or the
process relays it; TCP connections that NAT carries go on until they end. To cut these,
too, let nobody in before (mybr endpoint set CONTAINER mybr.publish.from.PORT=none).`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: s.completeBy(containerFirst(publishedBy)),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		named, err := endpointsCalled(v, args[0])
		if err != nil {
			return err
		}
		e := named[0] // all of them are one container's
		return s.changePorts(cmd, plugin.Ports{Network: e.Network, Endpoint: e.ID, Ports: args[1:], Remove: true})
	})
	s.askFlags(c)
	return c
}

// changePorts has mybr change ports, and prints those that have changed.
func (s *seer) changePorts(cmd *cobra.Command, what plugin.Ports) error {
	changed, err := s.client.ChangePorts(cmd.Context(), what)
	if err != nil {
		return err
	}
	return printChanged(cmd.OutOrStdout(), changed)
}

// printChanged prints a line for each port or range, as docker port does.
func printChanged(w io.Writer, changed []plugin.Binding) error {
	for _, b := range changed {
		at := b.Host
		if !at.IsValid() {
			at = b.Container
		}
		if _, err := fmt.Fprintf(w, "%s/%s -> %s\n", ports(b.Container.Port(), b.Count), b.Proto, view.Span(at, b.Count)); err != nil {
			return err
		}
	}
	return nil
}

// ports is a port, or the first and last of count ports.
func ports(first, count uint16) string {
	if count <= 1 {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, int(first)+int(count)-1)
}

// findPublisher returns the endpoint of a container that publishes its ports: that of the network,
// if one is named, or else the one that Docker would have publish them.
func findPublisher(v view.View, gateways map[string]docker.Gateway, word, network string) (found view.Endpoint, err error) {
	named, err := endpointsCalled(v, word)
	if err != nil {
		return found, err
	}
	if network != "" || named[0].Container != word {
		return findEndpoint(v, word, network)
	}
	gateway, known := gateways[named[0].ID]
	if i := slices.IndexFunc(named, func(e view.Endpoint) bool { return e.ID == gateway.Endpoint }); i >= 0 {
		return named[i], nil
	}
	if known {
		return found, fmt.Errorf("the default route of container %q is network %q, which is not mybr's, and publishes its ports: "+
			"--network says which of mybr's is to publish some all the same", word, plugin.Printable(gateway.Network))
	}
	return findEndpoint(v, word, "") // it has no default route
}

// containerFirst offers containers, and then what others say of the one that is there, if anything.
func containerFirst(then func(v view.View, container string) []cobra.Completion) func(view.View, []string) []cobra.Completion {
	return func(v view.View, args []string) []cobra.Completion {
		switch {
		case len(args) == 0:
			return containersOf(v)
		case then == nil:
			return nil
		}
		return then(v, args[0])
	}
}

// publishedBy are the published ports of a container, as mybr port rm takes them.
func publishedBy(v view.View, container string) (all []cobra.Completion) {
	named, err := endpointsCalled(v, container)
	if err != nil {
		return nil
	}
	for _, p := range v.Ports {
		if !slices.ContainsFunc(named, func(e view.Endpoint) bool { return e.ID == p.Endpoint }) {
			continue
		}
		spec := ports(p.Container.Port(), p.Count) + "/" + p.Proto
		if p.Host.IsValid() {
			spec = ports(p.Host.Port(), p.Count) + ":" + spec
			if !p.Host.Addr().IsUnspecified() {
				spec = hostText(p.Host.Addr()) + ":" + spec
			}
		}
		all = append(all, spec)
	}
	return all
}

// hostText is an address with a port behind it.
func hostText(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
