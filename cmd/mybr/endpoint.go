package main

import (
	"io"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/view"
)

func newEndpoint() *cobra.Command {
	return group(cobra.Command{
		Use:   "endpoint",
		Short: "Show the containers' places on mybr's networks",
	}, newEndpointList(), newEndpointSet())
}

func newEndpointList() *cobra.Command {
	var s seer
	c := commandWith(cobra.Command{
		Use:   "ls [flags] [NETWORK...]",
		Short: "List the endpoints, of all networks or of some",
		Long: `ls lists the endpoints: a container has one on each network that it is on. VETH is the
host's end of its pair of links. JOINED says whether a container has it now. GROUPS, where
some endpoint has one, are those that the network's mybr.icc is about. With -o json there is
more, such as the MAC address.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: s.complete(networksOf),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		list := v.Endpoints
		if len(args) > 0 {
			list = []view.Endpoint{}
		}
		for _, word := range args {
			n, err := findNetwork(v, word)
			if err != nil {
				return err
			}
			list = append(list, inspect(v, n).On.Endpoints...)
		}
		if s.output == outputJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version   int             `json:"version"`
				Endpoints []view.Endpoint `json:"endpoints"`
			}{formVersion, list})
		}
		return printEndpoints(cmd.OutOrStdout(), list, networkNames(v))
	})
	s.flags(c)
	return c
}

// printEndpoints prints a table, with the networks' names unless there are none.
func printEndpoints(w io.Writer, list []view.Endpoint, networks map[string]string) error {
	headings := "ENDPOINT ID\tCONTAINER\t"
	if networks != nil {
		headings += "NETWORK\t"
	}
	grouped := slices.ContainsFunc(list, func(e view.Endpoint) bool { return e.Groups() != "" })
	var rows [][]any
	for _, e := range list {
		row := []any{short(e.ID), dash(e.Container)}
		if networks != nil {
			row = append(row, networks[e.Network])
		}
		joined := "yes"
		if e.Sandbox == "" {
			joined = "no"
		}
		first, second := e.IPv4, e.IPv6
		if !first.IsValid() {
			first, second = second, first
		}
		row = append(row, addressText(first), e.Veth, joined)
		if grouped {
			row = append(row, dash(e.Groups()))
		}
		rows = append(rows, row)
		if second.IsValid() { // a line of its own: both are wider than a page
			more := []any{"", ""}
			if networks != nil {
				more = append(more, "")
			}
			more = append(more, addressText(second), "", "")
			if grouped {
				more = append(more, "")
			}
			rows = append(rows, more)
		}
	}
	headings += "ADDRESS\tVETH\tJOINED"
	if grouped {
		headings += "\tGROUPS"
	}
	return printTable(w, headings, rows, "CONTAINER", "NETWORK", "GROUPS")
}

func addressText(p netip.Prefix) string {
	if !p.IsValid() {
		return "-"
	}
	return p.Addr().String()
}
