package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	c := command(cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
	}, func(cmd *cobra.Command) error {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "version: %s\ncommit: %s\ngo: %s %s/%s\n",
			version, builtFrom(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	})
	c.PreRunE = nil // whatever the environment is
	return c
}

// builtFrom returns the commit that was built: as the build said, or else as the Go
// tool recorded it.
func builtFrom() string {
	if commit != "" {
		return commit
	}
	revision, modified := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = " (modified)"
			}
		}
	}
	return revision + modified
}
