package main

import (
	"fmt"
	"net/netip"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/plugin"
)

func newStatus() *cobra.Command {
	var client plugin.Client
	c := command(cobra.Command{
		Use:   "status [flags]",
		Short: "Show how the running mybr is",
	}, func(cmd *cobra.Command) error {
		s, err := client.Status(cmd.Context())
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "version:\t%s\n", s.Version)
		fmt.Fprintf(w, "pid:\t%d\n", s.PID)
		fmt.Fprintf(w, "since:\t%s\n", s.Since.Local().Format(time.RFC3339))
		fmt.Fprintf(w, "networks:\t%d\n", s.Networks)
		fmt.Fprintf(w, "endpoints:\t%d\n", s.Endpoints)
		if s.Firewall != "" {
			fmt.Fprintf(w, "firewall:\t%s\n", s.Firewall)
		}
		fmt.Fprintf(w, "host:\t%s\n", state(s))
		return w.Flush()
	})
	runDirFlag(c.Flags(), &client.RunDir)
	return c
}

// state says whether the host matches the records.
func state(s plugin.Status) string {
	switch {
	case !s.Ready:
		return "being made to match the records"
	case s.LastError != "":
		return "does not match the records: " + s.LastError
	default:
		return "matches the records"
	}
}

func newPorts() *cobra.Command {
	var client plugin.Client
	c := command(cobra.Command{
		Use:   "ports [flags]",
		Short: "List the published ports, which docker ps can't show for a plugin",
	}, func(cmd *cobra.Command) error {
		list, err := client.Ports(cmd.Context())
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "PROTO\tHOST\tCONTAINER\tBRIDGE\tNETWORK\tENDPOINT")
		for _, p := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.12s\t%.12s\n", p.Proto, span(p.Host, p.Count), span(p.Container, p.Count),
				p.Bridge, p.Network, p.Endpoint) // IDs as Docker's commands print them
		}
		return w.Flush()
	})
	runDirFlag(c.Flags(), &client.RunDir)
	return c
}

// span is `0.0.0.0:8000-8009` for ten ports from 8000.
func span(first netip.AddrPort, count uint16) string {
	if count <= 1 {
		return first.String()
	}
	return fmt.Sprintf("%s-%d", first, int(first.Port())+int(count)-1)
}
