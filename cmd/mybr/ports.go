package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/view"
)

func newPorts() *cobra.Command {
	var s seer
	c := commandWith(cobra.Command{
		Use:   "ports [flags] [CONTAINER...]",
		Short: "List the published ports, which docker ps can't show for a plugin",
		Long: `ports lists the published ports, of all containers or of some, given by name or by
endpoint ID. CARRIED says how:

    nat      by the kernel; what NAT can't translate, such as clients at 127.0.0.1, goes
             through the process
    process  all of it goes through the process
    direct   not at the host's addresses, but at the container's own (routed networks)

CONNECTIONS is what the kernel's rule has counted since it was made: a rule of NAT sees
the first packet of each connection and no other, so packets and bytes are not known,
and what the process carries is not counted.

FROM, where some port has it, is who reaches the port from outside (mybr.publish.from).`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: s.complete(containersOf),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		list := v.Ports
		if len(args) > 0 {
			if list, err = portsOf(v, args); err != nil {
				return err
			}
		}
		if s.output == outputJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version int         `json:"version"`
				Ports   []view.Port `json:"ports"`
			}{formVersion, list})
		}
		return printPorts(cmd.OutOrStdout(), list, networkNames(v))
	})
	s.flags(c)
	return c
}

// portsOf are those of the containers that a person means by name or endpoint ID.
func portsOf(v view.View, words []string) ([]view.Port, error) {
	wanted := map[string]bool{}
	for _, word := range words {
		found := false
		for _, e := range v.Endpoints { // a container has one on each of its networks
			if word != "" && e.Container == word {
				wanted[e.ID], found = true, true
			}
		}
		if found {
			continue
		}
		e, err := find(v.Endpoints, "endpoint", word, func(view.Endpoint) []string { return nil }, func(e view.Endpoint) string { return e.ID })
		if errors.As(err, new(unknownWord)) {
			return nil, fmt.Errorf("container %q is unknown, or on no network of mybr's: mybr endpoint ls lists what there is", word)
		}
		if err != nil {
			return nil, err
		}
		wanted[e.ID] = true
	}
	list := []view.Port{} // never null in JSON
	for _, p := range v.Ports {
		if wanted[p.Endpoint] {
			list = append(list, p)
		}
	}
	return list, nil
}

// byContainer has what a container publishes together, by its ports.
func byContainer(a, b view.Port) int {
	return cmp.Or(strings.Compare(called(a.Name, a.Endpoint), called(b.Name, b.Endpoint)), cmp.Compare(a.Host.Port(), b.Host.Port()),
		strings.Compare(a.Proto, b.Proto), cmp.Compare(a.Container.Port(), b.Container.Port()))
}

// printPorts prints a table, with the networks' names unless there are none.
func printPorts(w io.Writer, list []view.Port, networks map[string]string) error {
	headings := "PROTO\tHOST\tCONTAINER\tADDRESS\t"
	if networks != nil {
		headings += "NETWORK\t"
	}
	limited := slices.ContainsFunc(list, func(p view.Port) bool { return p.From != "" })
	var rows [][]any
	for _, p := range slices.SortedStableFunc(slices.Values(list), byContainer) {
		host := "-"
		if p.Host.IsValid() {
			host = view.Span(p.Host, p.Count)
		}
		row := []any{p.Proto, host, called(p.Name, p.Endpoint), view.Span(p.Container, p.Count)}
		if networks != nil {
			row = append(row, networks[p.Network])
		}
		connections := "-"
		if p.Traffic != nil {
			connections = fmt.Sprint(p.Traffic.Connections)
		}
		row = append(row, p.Carried, connections)
		if limited {
			row = append(row, cmp.Or(p.From, "all"))
		}
		rows = append(rows, row)
	}
	headings += "CARRIED\tCONNECTIONS"
	if limited {
		headings += "\tFROM"
	}
	return printTable(w, headings, rows, "CONTAINER", "NETWORK")
}
