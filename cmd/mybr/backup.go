package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/plugin"
)

func newBackup() *cobra.Command {
	var client plugin.Client
	c := command(cobra.Command{
		Use:   "backup [flags]",
		Short: "Write the records of the running mybr to the standard output",
		Long: `backup writes all records of the running mybr, as they are at one moment, in the form of
its state file. To restore them, stop mybr and put the file in the place of mybr.db.

A file that it fails to write is not complete: the exit status says so.`,
		Example: `  mybr backup >mybr-backup.db`,
	}, func(cmd *cobra.Command) error {
		if isTerminal(cmd.OutOrStdout()) {
			return errors.New("the records are not text: write them to a file, mybr backup >FILE")
		}
		return client.Backup(cmd.Context(), cmd.OutOrStdout())
	})
	runDirFlag(c.Flags(), &client.RunDir)
	return c
}

// isTerminal reports whether what is written is shown on a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
