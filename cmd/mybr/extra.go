//go:build !man

package main

import "github.com/spf13/cobra"

// extraCommands are those of a binary that is built to write mybr's manual pages.
func extraCommands() []*cobra.Command { return nil }
