package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/plugin"
)

// historyLength is how many events --history shows.
const historyLength = 200

func newEvents() *cobra.Command {
	var client plugin.Client
	var output string
	var history bool
	c := command(cobra.Command{
		Use:   "events [flags]",
		Short: "Follow what mybr does: what it changes, what it heals and who had changed it",
		Long: fmt.Sprintf(`events prints what happens, until it is interrupted or mybr ends: what mybr changes on
the host, what it puts right and which program had changed it, what fails, and which
networks, endpoints and ports come and go. With --history it begins with the last %d
events that were. With -o json each event is a line of JSON.

Nobody waits for a reader that is too slow: a line says how many events it has missed.`, historyLength),
	}, func(cmd *cobra.Command) error {
		before := 0
		if history {
			before = historyLength
		}
		out := cmd.OutOrStdout()
		err := client.Events(cmd.Context(), before, func(e event.Event) error {
			if output == outputJSON {
				return printLine(out, e)
			}
			return printEvent(out, e)
		})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("mybr has ended")
		}
		return err
	})
	outputFlag(c, &output)
	toggle(c.Flags(), &history, "history", fmt.Sprintf("begin with the last %d events", historyLength))
	runDirFlag(c.Flags(), &client.RunDir)
	return c
}

// printEvent shows an event to a person, in a line for each change.
func printEvent(w io.Writer, e event.Event) error {
	begin := e.Time.Local().Format(time.RFC3339) + " " + e.Kind
	end := ""
	if e.By != "" {
		end = " (changed by " + e.By + ")"
	}
	var err error
	line := func(words ...string) {
		if err == nil {
			_, err = fmt.Fprintln(w, strings.TrimRight(begin+strings.Join(words, "")+end, " "))
		}
	}
	switch {
	case e.Kind == event.Lost:
		line(fmt.Sprintf(": %d events came faster than they were read", e.Missed))
	case e.Error != "":
		line(": ", e.Error)
	case len(e.Changes) > 0:
		for _, c := range e.Changes {
			line(" ", e.Aspect, ": ", brief(c))
		}
	default:
		line(" ", subjectText(e))
	}
	if e.More > 0 {
		line(fmt.Sprintf(" %s: and %d more", e.Aspect, e.More))
	}
	return err
}

// renewed is a change of a link's alias, which has some hundred characters before and after.
var renewed = regexp.MustCompile(`alias "(?:[^"\\]|\\.)*" -> "(?:[^"\\]|\\.)*"`)

// brief is a change without the texts that no person reads; with -o json they are there.
func brief(change string) string {
	return renewed.ReplaceAllLiteralString(change, "records on the link renewed")
}

// subjectText is what an event is about that has no changes.
func subjectText(e event.Event) string {
	var words []string
	if e.Endpoint != "" {
		words = append(words, short(e.Endpoint), "on")
	}
	if e.Network != "" {
		words = append(words, short(e.Network), "("+e.Bridge+")")
	}
	words = append(words, e.Addresses...)
	if len(e.Ports) > 0 {
		words = append(words, strings.Join(e.Ports, ", "))
	}
	return strings.Join(words, " ")
}
