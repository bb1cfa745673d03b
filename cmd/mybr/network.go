package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/view"
)

func newNetwork() *cobra.Command {
	return group(cobra.Command{
		Use:   "network",
		Short: "Show mybr's networks, and have those forgotten that Docker has no more",
	}, newNetworkList(), newNetworkInspect(), newNetworkSet(), newNetworkForget())
}

func newNetworkList() *cobra.Command {
	var s seer
	c := command(cobra.Command{
		Use:   "ls [flags]",
		Short: "List the networks",
		Long: `ls lists mybr's networks: name, bridge, subnets with their gateway modes, and how many
endpoints each has. OPTIONS has what is not as usual: internal, and no-icc where
containers are kept apart, icc-list where a list says what they may begin to each other.
(An internal network has no mode unless it is isolated.)`,
	}, func(cmd *cobra.Command) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		if s.output == outputJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version  int            `json:"version"`
				Networks []view.Network `json:"networks"`
			}{formVersion, v.Networks})
		}
		var rows [][]any
		for _, n := range v.Networks {
			var options []string
			if n.Internal {
				options = append(options, "internal")
			}
			if !n.ICC {
				options = append(options, "no-icc")
			}
			if n.ICCList != "" {
				options = append(options, "icc-list")
			}
			first := []any{short(n.ID), dash(n.Name), n.Bridge, "-", "-", n.Endpoints, dash(strings.Join(options, ","))}
			rows = append(rows, first)
			for i, s := range n.Subnets {
				if i > 0 { // the others are below
					first = []any{"", "", "", "", "", "", ""}
					rows = append(rows, first)
				}
				first[3], first[4] = s.Prefix, dash(modeText(n, s))
			}
		}
		return printTable(cmd.OutOrStdout(), "NETWORK ID\tNAME\tBRIDGE\tSUBNET\tMODE\tENDPOINTS\tOPTIONS", rows, "NAME", "OPTIONS")
	})
	s.flags(c)
	return c
}

// inspected is a network with what is on it.
type inspected struct {
	view.Network
	On struct {
		Endpoints []view.Endpoint `json:"endpoints"`
		Ports     []view.Port     `json:"ports"`
	} `json:"on"`
}

func newNetworkInspect() *cobra.Command {
	var s seer
	c := commandWith(cobra.Command{
		Use:   "inspect [flags] NETWORK...",
		Short: "Show networks with all that is on them",
		Long: `inspect shows networks, each with its endpoints and published ports. A network is given
by its name, its bridge, its ID, or the beginning of its ID if no other's begins so.`,
		Args:              wantSome,
		ValidArgsFunction: s.complete(networksOf),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		list := []inspected{}
		for _, word := range args {
			n, err := findNetwork(v, word)
			if err != nil {
				return err
			}
			list = append(list, inspect(v, n))
		}
		if s.output == outputJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version  int         `json:"version"`
				Networks []inspected `json:"networks"`
			}{formVersion, list})
		}
		for i, n := range list {
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			if err := n.print(cmd.OutOrStdout()); err != nil {
				return err
			}
		}
		return nil
	})
	s.flags(c)
	return c
}

func inspect(v view.View, n view.Network) inspected {
	i := inspected{Network: n}
	i.On.Endpoints, i.On.Ports = []view.Endpoint{}, []view.Port{} // never null in JSON
	for _, e := range v.Endpoints {
		if e.Network == n.ID {
			i.On.Endpoints = append(i.On.Endpoints, e)
		}
	}
	for _, p := range v.Ports {
		if p.Network == n.ID {
			i.On.Ports = append(i.On.Ports, p)
		}
	}
	return i
}

// print shows a network to a person.
func (i inspected) print(w io.Writer) error {
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-12s%s\n", name+":", text)
		}
	}
	line("network", dash(i.Name))
	line("id", i.ID)
	bridge := i.Bridge
	if !i.Owned {
		bridge += ", which was there before mybr used it"
	}
	if i.MTU > 0 {
		bridge += fmt.Sprintf(", MTU %d", i.MTU)
	}
	line("bridge", bridge)
	for _, s := range i.Subnets {
		line(s.Family, subnetText(i.Network, s))
	}
	icc := map[bool]string{true: "containers reach each other", false: "containers are kept apart"}[i.ICC]
	if i.ICCList != "" {
		icc = "containers may begin " + i.ICCList
	}
	line("icc", icc)
	if i.Internal {
		line("internal", "nothing passes to or from other interfaces")
	}
	if i.HostBinding.IsValid() {
		line("publishes", "at "+i.HostBinding.String())
	}
	line("trusts", strings.Join(i.Trusted, ", "))
	line("routes", strings.Join(i.Routes, ", "))
	for _, set := range i.Settings {
		line("option", settingText(set))
	}
	for _, e := range i.On.Endpoints {
		for _, set := range e.Settings {
			line("endpoint", called(e.Container, e.ID)+" "+settingText(set))
		}
	}
	for _, part := range []struct {
		name  string
		print func() error
		rows  int
	}{
		{"endpoints", func() error { return printEndpoints(w, i.On.Endpoints, nil) }, len(i.On.Endpoints)},
		{"ports", func() error { return printPorts(w, i.On.Ports, nil) }, len(i.On.Ports)},
	} {
		if part.rows == 0 {
			fmt.Fprintf(w, "\n%s: none\n", part.name)
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", part.name)
		if err := part.print(); err != nil {
			return err
		}
	}
	return nil
}

// modeText is the gateway mode of a family; "" where it says nothing: nothing passes the
// gateway of an internal network, save that an isolated one has none at all.
func modeText(n view.Network, s view.Subnet) string {
	if n.Internal && s.Mode != "isolated" {
		return ""
	}
	return s.Mode
}

// subnetText says what a network has of a family.
func subnetText(n view.Network, s view.Subnet) string {
	parts := []string{s.Prefix.String()}
	if mode := modeText(n, s); mode != "" {
		parts = append(parts, "mode "+mode)
	}
	if s.Gateway.IsValid() {
		parts = append(parts, "gateway "+s.Gateway.String())
	}
	if s.Address.IsValid() && s.Address.Addr() != s.Gateway {
		parts = append(parts, "bridge has "+s.Address.Addr().String())
	}
	switch {
	case n.Internal:
	case s.SNAT.IsValid():
		parts = append(parts, "leaves as "+s.SNAT.String())
	case s.Masquerade:
		parts = append(parts, "leaves with the host's address")
	}
	return strings.Join(parts, ", ")
}
