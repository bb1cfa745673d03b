package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

func newDenied() *cobra.Command {
	var s seer
	var follow bool
	c := commandWith(cobra.Command{
		Use:   "denied [flags] [NETWORK]",
		Short: "Show what containers were not allowed to begin connections to",
		Long: `denied shows what the lists of mybr.egress have refused since mybr began, of all networks
or of one, given as for network inspect: who, to where, by which protocol, how often, and
when first and last. VERDICT is

    refused      it was dropped
    let through  it passed, for the list is only watched (mybr.egress.mode=audit)

or how many of them were let through, where the mode has changed. TO is the host that was
named, or the address that the container has chosen: that of a published port is the
host's, or host where the kernel does not tell which. If mybr has answered the container's
DNS with that address a moment before, the name stands before the address. A connection
counts each time that its beginning is tried; of what is sent to the host itself each packet
counts, and when the list is only watched, each connection.

With --follow an entry is printed again when it has changed, until the command is
interrupted or mybr ends. With -o json that is a line of JSON each time.

The kernel tells of 100 packets a second at most, and mybr remembers 4096 entries. Behind
that the container that has most of them loses the one that was silent longest: what is not
here may have been refused all the same. A container that has none of the names is shown by the beginning of
its endpoint's ID, and - is who has an address that is no container's.

Exit status 1 also when mybr can't hear of what is refused; why is told behind the list.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.complete(networksOf),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		network := ""
		if len(args) > 0 {
			n, err := findNetwork(v, args[0])
			if err != nil {
				return err
			}
			network = n.ID
		}
		if follow {
			return s.followDenied(cmd, network, v)
		}
		d, err := s.client.Denied(cmd.Context(), network)
		if err != nil {
			return err
		}
		containers := containerNames(v)
		for i := range d.Denied {
			d.Denied[i].Container = containers[d.Denied[i].Endpoint]
		}
		if s.output == outputJSON {
			err = printJSON(cmd.OutOrStdout(), d)
		} else {
			err = printDenied(cmd.OutOrStdout(), d, networkNames(v))
		}
		return errors.Join(err, unheard(d.Unheard))
	})
	s.flags(c)
	toggle(c.Flags(), &follow, "follow", "go on with what changes")
	return c
}

// unheard is the error of what mybr can't hear of; "": it can.
func unheard(why string) error {
	if why == "" {
		return nil
	}
	return fmt.Errorf("what is refused is not heard of: %s", why)
}

// containerNames are the names of containers by their endpoints' IDs.
func containerNames(v view.View) map[string]string {
	names := make(map[string]string, len(v.Endpoints))
	for _, e := range v.Endpoints {
		names[e.ID] = e.Container
	}
	return names
}

// followDenied prints a line for each entry that changes.
func (s *seer) followDenied(cmd *cobra.Command, network string, v view.View) error {
	out := cmd.OutOrStdout()
	networks, containers := networkNames(v), containerNames(v)
	err := s.client.FollowDenied(cmd.Context(), network, func(d plugin.Denial) error {
		if _, known := containers[d.Endpoint]; !known && d.Endpoint != "" {
			now, err := s.see(cmd) // it has come since, or it is gone
			if err != nil {
				return err
			}
			networks, containers = networkNames(now), containerNames(now)
			if _, known := containers[d.Endpoint]; !known {
				containers[d.Endpoint] = "" // gone: not looked for again
			}
		}
		d.Container = containers[d.Endpoint]
		if s.output == outputJSON {
			return printLine(out, d)
		}
		_, err := fmt.Fprintf(out, "%s %s on %s: %s %s, %d times, %s\n", d.Last.Local().Format(stamp), whoseDenial(d), cmp.Or(networks[d.Network], short(d.Network)),
			d.Protocol, deniedTo(d), d.Count, verdictText(d))
		return err
	})
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("mybr has ended")
	}
	return err
}

// stamp is a time in a table: of entries of one run of the process the year says nothing.
const stamp = "01-02 15:04:05"

func printDenied(w io.Writer, all plugin.Denied, networks map[string]string) error {
	var rows [][]any
	for _, d := range all.Denied {
		rows = append(rows, []any{whoseDenial(d), cmp.Or(networks[d.Network], short(d.Network)), d.Protocol, deniedTo(d), d.Count,
			d.First.Local().Format(stamp), d.Last.Local().Format(stamp), verdictText(d)})
	}
	err := printTable(w, "CONTAINER\tNETWORK\tPROTO\tTO\tCOUNT\tFIRST\tLAST\tVERDICT", rows, "CONTAINER", "NETWORK")
	for _, note := range []struct {
		n    uint64
		text string
	}{{all.Forgotten, "entries were forgotten: there were too many"}, {all.Lost, "times refusals came faster than they could be heard of"}} {
		if note.n > 0 && err == nil {
			_, err = fmt.Fprintf(w, "%d %s\n", note.n, note.text)
		}
	}
	return err
}

// whoseDenial is whose it is: a container's name, or the beginning of its endpoint's ID.
func whoseDenial(d plugin.Denial) string { return dash(called(d.Container, d.Endpoint)) }

// deniedTo is where to.
func deniedTo(d plugin.Denial) string {
	address := d.Address
	if a, err := netip.ParseAddr(address); err == nil && a.IsUnspecified() {
		address = "host"
	}
	if d.Name != "" && address != "" {
		return withPort(d.Name, d.Port) + " (" + address + ")"
	}
	return withPort(cmp.Or(d.Name, address, "?"), d.Port)
}

// withPort is a host, or an address, with a port, unless that is 0.
func withPort(host string, port uint16) string {
	if port == 0 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// verdictText is what became of it.
func verdictText(d plugin.Denial) string {
	switch d.Let {
	case 0:
		return "refused"
	case d.Count:
		return "let through"
	}
	return fmt.Sprintf("%d let through", d.Let)
}
