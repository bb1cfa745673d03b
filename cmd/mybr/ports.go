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
    closed   not at all: SCTP, which the process can't carry, with mybr.publish.policy=host

CONNECTIONS is what the kernel's rule has counted since it was made: a rule of NAT sees
the first packet of each connection and no other, so packets and bytes are not known,
and what the process carries is not counted.

FROM, where some port has it, is who reaches the port from outside (mybr.publish.from),
and INTERFACE by which interfaces of the host they come (mybr.publish.interface).
ADDED, where some port has it, says what mybr port add has published; what mybr port rm
has taken away until the container is started again is told below the table.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: s.complete(containersOf),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		list, wanted := v.Ports, map[string]bool(nil)
		if len(args) > 0 {
			if wanted, err = endpointsOf(v, args); err != nil {
				return err
			}
			list = slices.DeleteFunc(slices.Clone(list), func(p view.Port) bool { return !wanted[p.Endpoint] })
		}
		if s.output == outputJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version int         `json:"version"`
				Ports   []view.Port `json:"ports"`
			}{formVersion, list})
		}
		if err := printPorts(cmd.OutOrStdout(), list, networkNames(v)); err != nil {
			return err
		}
		return printRemoved(cmd.OutOrStdout(), v, wanted)
	})
	s.flags(c)
	return c
}

// endpointsOf are those of the containers that a person means by name or endpoint ID, by ID.
func endpointsOf(v view.View, words []string) (map[string]bool, error) {
	wanted := map[string]bool{}
	for _, word := range words {
		named, err := endpointsCalled(v, word)
		if err != nil {
			return nil, err
		}
		for _, e := range named { // a container has one on each of its networks
			wanted[e.ID] = true
		}
	}
	return wanted, nil
}

// endpointsCalled are those of the container that a person means by name, or the one that is meant
// by ID.
func endpointsCalled(v view.View, word string) (named []view.Endpoint, err error) {
	for _, e := range v.Endpoints {
		if word != "" && e.Container == word {
			named = append(named, e)
		}
	}
	if len(named) > 0 {
		return named, nil
	}
	e, err := find(v.Endpoints, "endpoint", word, func(view.Endpoint) []string { return nil }, func(e view.Endpoint) string { return e.ID })
	if errors.As(err, new(unknownWord)) {
		return nil, fmt.Errorf("container %q is unknown, or on no network of mybr's: mybr endpoint ls lists what there is", word)
	}
	return []view.Endpoint{e}, err
}

// printRemoved tells what was taken away of some endpoints' ports, of all if wanted is nil.
func printRemoved(w io.Writer, v view.View, wanted map[string]bool) (err error) {
	for _, e := range v.Endpoints {
		for _, port := range e.Removed {
			if err == nil && (wanted == nil || wanted[e.ID]) {
				_, err = fmt.Fprintf(w, "%s: %s was taken away until the container is started again\n", called(e.Container, e.ID), port)
			}
		}
	}
	return err
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
	arriving := slices.ContainsFunc(list, func(p view.Port) bool { return p.Interface != "" })
	changed := slices.ContainsFunc(list, func(p view.Port) bool { return p.Added > 0 })
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
		if arriving {
			row = append(row, cmp.Or(p.Interface, "all"))
		}
		if changed {
			row = append(row, addedText(p))
		}
		rows = append(rows, row)
	}
	headings += "CARRIED\tCONNECTIONS"
	if limited {
		headings += "\tFROM"
	}
	if arriving {
		headings += "\tINTERFACE"
	}
	if changed {
		headings += "\tADDED"
	}
	return printTable(w, headings, rows, "CONTAINER", "NETWORK")
}

// addedText says how much of a range of ports was added.
func addedText(p view.Port) string {
	switch p.Added {
	case 0:
		return "-"
	case int(p.Count):
		return "yes"
	}
	return fmt.Sprintf("%d of %d", p.Added, p.Count)
}
