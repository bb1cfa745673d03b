// Command mybr is a network and IPAM driver for Docker: `mybr serve` is the plugin,
// the other commands ask it.
//
// Exit status: 0 for success, 1 when something failed or differs, 2 when the command line or
// a variable of the environment is wrong.
//
// Be aware: nothing is decided here; flags and variables become a plugin.Config.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/plugin"
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
	err := suggested(root, root.ExecuteContext(ctx))
	if err == nil {
		return 0
	}
	text := oneLine(err)
	if errors.Is(err, plugin.ErrNotRunning) {
		text += " (mybr doctor says how to start it)"
	}
	fmt.Fprintln(stderr, "mybr:", text)
	if errors.As(err, new(failure)) {
		return exitFailed
	}
	return exitUsage
}

// oneLine is the text of an error for a terminal: names of files, links and processes in it are
// others'.
func oneLine(err error) string { return plugin.Printable(strings.ReplaceAll(err.Error(), "\n", "; ")) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "mybr",
		Short: "Bridge networks for Docker, as a plugin",
		Long: `mybr makes bridge networks for Docker: docker network create -d mybr …

Each flag can also be set by an environment variable: MYBR_ and the flag's name in
capitals, with _ for -. A flag counts before its variable, a variable before the
default; an empty variable counts as not set.

Exit status: 0 for success; 1 when something failed, or when the host differs from
what is recorded and that was the question; 2 when the command line or a variable is
wrong.`,
		SilenceUsage:       true,
		SilenceErrors:      true,
		DisableSuggestions: true,
	}
	root.AddCommand(
		newServe(),
		newStatus(),
		newDoctor(),
		newNetwork(),
		newEndpoint(),
		newPorts(),
		newPort(),
		newPool(),
		newList(),
		newDenied(),
		newEgress(),
		newTopology(),
		newRules(),
		newEvents(),
		newSync(),
		newBackup(),
		newDockerProxy(),
		newExplain(),
		newCompose(),
		newVersion(),
	)
	root.AddCommand(extraCommands()...)
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultCompletionCmd()
	for c := range below(root) {
		c.DisableFlagsInUseLine = true
	}
	return root
}

// below yields all commands below one.
func below(c *cobra.Command) iter.Seq[*cobra.Command] {
	return func(yield func(*cobra.Command) bool) {
		for _, sub := range c.Commands() {
			if !yield(sub) {
				return
			}
			for s := range below(sub) {
				if !yield(s) {
					return
				}
			}
		}
	}
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
	c.Args = wantNone
	return commandWith(c, func(cmd *cobra.Command, _ []string) error { return act(cmd) })
}

// commandWith is command for one that has said which arguments it takes.
func commandWith(c cobra.Command, act func(cmd *cobra.Command, args []string) error) *cobra.Command {
	c.PreRunE = func(cmd *cobra.Command, _ []string) error {
		return fromEnvironment(cmd, os.Environ())
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := act(cmd, args); err != nil {
			return failure{err}
		}
		return nil
	}
	return &c
}

// group makes a command that is nothing but the beginning of others.
func group(c cobra.Command, commands ...*cobra.Command) *cobra.Command {
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return cmd.Help()
	}
	c.AddCommand(commands...)
	return &c
}
