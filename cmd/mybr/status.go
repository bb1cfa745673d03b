package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/plugin"
)

func newStatus() *cobra.Command {
	var client plugin.Client
	var diff bool
	var output string
	c := command(cobra.Command{
		Use:   "status [flags]",
		Short: "Show how the running mybr is, and whether the host matches the records",
		Long: `status shows how the running mybr is. It compares the host as it is now with what is
recorded: links, firewall rules, settings, host ports and tracked connections.

With --diff it prints what the host has otherwise, a line for each change that would
mend it, and exits with 1 if there is any. Nothing is changed.`,
	}, func(cmd *cobra.Command) error {
		if diff {
			list, err := client.Diff(cmd.Context())
			if err != nil {
				return err
			}
			if output == outputJSON {
				return jsonDiff(cmd.OutOrStdout(), list)
			}
			return printDiff(cmd.OutOrStdout(), list)
		}
		s, err := client.Status(cmd.Context())
		if err != nil {
			return err
		}
		if output == outputJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version int           `json:"version"`
				Status  plugin.Status `json:"status"`
			}{formVersion, s})
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
		if s.NoticedLate != "" {
			fmt.Fprintf(w, "watching:\tno, changes by other programs are noticed late: %s\n", s.NoticedLate)
		}
		if s.Unheard != "" {
			fmt.Fprintf(w, "denied:\tnot heard of: %s\n", strings.ReplaceAll(s.Unheard, "\n", "; "))
		}
		if s.Unchecked != "" {
			fmt.Fprintf(w, "senders:\tnot checked: %s\n", s.Unchecked)
		}
		for _, aspect := range slices.Sorted(maps.Keys(s.Healed)) {
			h := s.Healed[aspect]
			by := ""
			if h.By != "" {
				by = ", changed by " + plugin.Printable(h.By)
			}
			fmt.Fprintf(w, "healed:\t%s, %d times, last at %s%s\n", aspect, h.Times, h.Last.Local().Format(time.RFC3339), by)
		}
		return w.Flush()
	})
	outputFlag(c, &output)
	runDirFlag(c.Flags(), &client.RunDir)
	toggle(c.Flags(), &diff, "diff", "print what the host has otherwise than is recorded")
	return c
}

// errDiffers is what `status --diff` ends with when it has printed something.
var errDiffers = errors.New("the host does not match the records")

func jsonDiff(w io.Writer, list []plugin.Difference) error {
	err := printJSON(w, struct {
		Version     int                 `json:"version"`
		Differences []plugin.Difference `json:"differences"`
	}{formVersion, list})
	if len(list) > 0 {
		err = errors.Join(err, errDiffers)
	}
	return err
}

func printDiff(w io.Writer, list []plugin.Difference) error {
	for _, d := range list {
		for _, change := range d.Changes {
			fmt.Fprintln(w, change)
		}
		if d.Error != "" {
			fmt.Fprintf(w, "%s: could not be looked at: %s\n", d.Aspect, d.Error)
		}
	}
	if len(list) > 0 {
		return errDiffers
	}
	return nil
}

// state says whether the host matches the records.
func state(s plugin.Status) string {
	text := "matches the records"
	if s.Unknown != "" {
		text = "matched the records when the last pass ended"
	}
	switch {
	case !s.Ready:
		return "being made to match the records"
	case s.LastError != "":
		text = "does not match the records: " + s.LastError
	case s.Differences == 1:
		text = "differs from the records in 1 place: see mybr status --diff"
	case s.Differences > 1:
		text = fmt.Sprintf("differs from the records in %d places: see mybr status --diff", s.Differences)
	}
	if s.Unknown != "" {
		text += "; not all could be compared now: " + s.Unknown
	}
	return text
}
