package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/docker"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// forgetFlags are those of a command that has something forgotten.
func (s *seer) forgetFlags(c *cobra.Command) {
	text(c.Flags(), &s.docker, "docker", "host", "", "where Docker is asked whether it has it, unix:///PATH, or none not to ask "+
		"(default $DOCKER_HOST, or "+docker.DefaultHost+")", checkDocker)
	runDirFlag(c.Flags(), &s.client.RunDir)
	c.Flags().SortFlags = false
}

func newNetworkForget() *cobra.Command {
	var s seer
	c := commandWith(cobra.Command{
		Use:   "forget [flags] NETWORK...",
		Short: "Have mybr forget networks that Docker has no more",
		Long: `forget removes networks that Docker has forgotten without telling mybr: those that were
removed while mybr was down, or whose records Docker has lost. Links and rules go with
them, and the subnets that mybr's IPAM driver holds for them, unless another network of
Docker's has them now. A network is given by its
bridge, its ID, or the beginning of its ID if no other's begins so.

Docker is asked first: what it has is left alone, "docker network rm" removes that. Where
several engines use one mybr, ask each with --docker. With --docker none nobody is asked,
and containers that are on the network lose it.`,
		Args:              wantSome,
		ValidArgsFunction: s.complete(networksOf),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.view(cmd)
		if err != nil {
			return err
		}
		var networks []view.Network
		for _, word := range args {
			n, err := findNetwork(v, word)
			if err != nil {
				return err
			}
			networks = append(networks, n)
		}
		known, err := s.dockers(cmd)
		if err != nil {
			return err
		}
		for _, n := range networks {
			if i := slices.IndexFunc(known, func(d docker.Network) bool { return d.ID == n.ID }); i >= 0 {
				return fmt.Errorf("network %s is Docker's: docker network rm %s removes it", short(n.ID), plugin.Printable(known[i].Name))
			}
		}
		for _, n := range networks {
			if err := s.client.Forget(cmd.Context(), plugin.Forgotten{Network: n.ID, KeepPools: slices.ContainsFunc(known, func(d docker.Network) bool { return hasSubnet(d, n) })}); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), n.ID)
		}
		return nil
	})
	s.forgetFlags(c)
	return c
}

func newPoolForget() *cobra.Command {
	var s seer
	c := commandWith(cobra.Command{
		Use:   "forget [flags] SUBNET...",
		Short: "Have mybr's IPAM driver forget subnets that no network has",
		Long: `forget releases subnets that mybr's IPAM driver holds for networks which Docker has no
more. What is a network of mybr's is left alone: "mybr network forget" takes its subnet
along.

Docker is asked first, since networks of other drivers can have mybr's subnets: what one
has is left alone. With --docker none nobody is asked, and addresses can be given twice.`,
		Args: wantSome,
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.view(cmd)
		if err != nil {
			return err
		}
		var pools []view.Pool
		for _, word := range args {
			p, err := findPool(v, word)
			if err != nil {
				return err
			}
			pools = append(pools, p)
		}
		known, err := s.dockers(cmd)
		if err != nil {
			return err
		}
		for _, p := range pools {
			if i := slices.IndexFunc(known, func(d docker.Network) bool { return slices.Contains(d.Subnets, p.Prefix.String()) }); i >= 0 {
				return fmt.Errorf("subnet %s is that of Docker's network %s", p.Prefix, plugin.Printable(known[i].Name))
			}
		}
		for _, p := range pools {
			if err := s.client.Forget(cmd.Context(), plugin.Forgotten{Pool: p.ID}); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), p.Prefix)
		}
		return nil
	})
	s.forgetFlags(c)
	return c
}

// hasSubnet reports whether one of Docker's networks has a subnet that mybr's network had.
func hasSubnet(d docker.Network, n view.Network) bool {
	return slices.ContainsFunc(n.Subnets, func(s view.Subnet) bool { return slices.Contains(d.Subnets, s.Prefix.String()) })
}

// findPool returns the pool of a subnet, or with an ID.
func findPool(v view.View, word string) (found view.Pool, err error) {
	prefix, _ := netip.ParsePrefix(word) // an ID is none
	var all []view.Pool
	for _, p := range v.Pools {
		if p.ID == word || p.Prefix == prefix {
			all = append(all, p)
		}
	}
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return found, fmt.Errorf("subnet %q is unknown: mybr pool ls lists what there is", word)
	}
	return found, fmt.Errorf("subnet %q is in several address spaces: give one of %s, %s", word, all[0].ID, all[1].ID)
}

// dockers are all networks that Docker has; none if it is not to be asked.
func (s *seer) dockers(cmd *cobra.Command) ([]docker.Network, error) {
	socket, err := dockerSocket(s.docker)
	if err != nil || socket == "" {
		return nil, err
	}
	known, err := docker.Client{Socket: socket}.Networks(cmd.Context())
	if err != nil {
		return nil, errors.Join(err, errors.New("without Docker nobody knows whether it is in use: --docker none does not ask"))
	}
	return known, nil
}
