//go:build man

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// extraCommands is the one that writes mybr's manual pages. The package that does it, and
// what that needs, are not in the binary that users get.
func extraCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use:    "man DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			cmd.Root().DisableAutoGenTag = true // no date: the same pages for the same commit
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Section: "8", Source: "mybr", Manual: "mybr's commands"}, args[0])
		},
	}}
}
