// Command mybr is a network and IPAM driver for Docker: `mybr serve` is the plugin,
// the other commands ask it.
//
// Exit status: 0 for success, 1 when something failed, 2 when the command line or a
// variable of the environment is wrong.
//
// Be aware: nothing is decided here; flags and variables become a plugin.Config.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Set with -ldflags "-X main.version=… -X main.commit=…".
var (
	version = "dev"
	commit  = ""
)

const (
	exitFailed = 1
	exitUsage  = 2
)

// failure is an error of a command that was well called.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "mybr:", strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.As(err, new(failure)) {
		return exitFailed
	}
	return exitUsage
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "mybr",
		Short: "Bridge networks for Docker, as a plugin",
		Long: `mybr makes bridge networks for Docker: docker network create -d mybr …

Each flag can also be set by an environment variable: MYBR_ and the flag's name in
capitals, with _ for -. A flag counts before its variable, a variable before the
default; an empty variable counts as not set.`,
		SilenceUsage:       true,
		SilenceErrors:      true,
		DisableSuggestions: true,
		CompletionOptions:  cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(newServe(), newStatus(), newPorts(), newTopology(), newRules(), newBackup(), newDockerProxy(), newVersion())
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true
	}
	return root
}

// newHelp replaces cobra's command, which takes an unknown topic for success.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Show what a command does and takes",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, rest, err := root.Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return fmt.Errorf("unknown command %q for %q", rest[0], topic.CommandPath())
			}
			return topic.Help()
		},
	}
}

// command makes a subcommand without arguments. act runs once the variables have
// been read; its errors are failures, not misuse.
func command(c cobra.Command, act func(cmd *cobra.Command) error) *cobra.Command {
	c.Args = cobra.NoArgs
	c.PreRunE = func(cmd *cobra.Command, _ []string) error {
		return fromEnvironment(cmd, os.Environ())
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := act(cmd); err != nil {
			return failure{err}
		}
		return nil
	}
	return &c
}
