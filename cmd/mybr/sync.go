package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/plugin"
)

func newSync() *cobra.Command {
	var client plugin.Client
	var output string
	c := command(cobra.Command{
		Use:   "sync [flags]",
		Short: "Make the host match the records now, and say what was mended",
		Long: `sync has the running mybr look at the whole host and make it match what is recorded, as a
restart does, and prints a line for each change that took. It changes nothing that a
restart would not. mybr notices most of what others change by itself, and looks at all
of it every --resync-interval: sync is for those who can't wait.

It exits with 1 if something could not be mended.`,
	}, func(cmd *cobra.Command) error {
		list, err := client.Sync(cmd.Context())
		if err != nil {
			return err
		}
		if output == outputJSON {
			err = printJSON(cmd.OutOrStdout(), struct {
				Version int                 `json:"version"`
				Mended  []plugin.Difference `json:"mended"`
			}{formVersion, list})
		} else {
			printMended(cmd.OutOrStdout(), list)
		}
		for _, d := range list {
			if d.Error != "" {
				return errors.Join(err, errUnmended)
			}
		}
		return err
	})
	outputFlag(c, &output)
	runDirFlag(c.Flags(), &client.RunDir)
	return c
}

// errUnmended is what sync ends with when it has printed an error.
var errUnmended = errors.New("not all could be mended")

func printMended(w io.Writer, list []plugin.Difference) {
	if len(list) == 0 {
		fmt.Fprintln(w, "the host matches the records: nothing was to be mended")
	}
	for _, d := range list {
		for _, change := range d.Changes {
			fmt.Fprintln(w, change)
		}
		if d.Error != "" {
			fmt.Fprintf(w, "%s: could not be mended: %s\n", d.Aspect, d.Error)
		}
	}
}
