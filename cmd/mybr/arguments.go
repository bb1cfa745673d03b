package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// wantArgs is for a command that takes so many arguments.
func wantArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return wrongCount(c, n, len(args))
	}
}

// wantSome is for a command that takes arguments, one or more.
func wantSome(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return nil
	}
	return fmt.Errorf("want an argument or more, and there is none: %s", c.UseLine())
}

// wantNone is for a command that takes no arguments.
func wantNone(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no arguments, and there is %q", c.CommandPath(), args[0])
}

func wrongCount(c *cobra.Command, want, have int) error {
	words := [...]string{"no arguments", "one argument", "two arguments"}
	given := fmt.Sprintf("there are %d", have)
	if have < 2 {
		given = "there is " + [...]string{"none", "one"}[have]
	}
	return fmt.Errorf("want %s, and %s: %s", words[want], given, c.UseLine())
}

// likeEnough is how many letters may be wrong in a command that is suggested.
const likeEnough = 2

// suggested adds to the error about an unknown command which one may be meant.
func suggested(root *cobra.Command, err error) error {
	var name, parent string
	if err == nil {
		return nil
	}
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q for %q", &name, &parent); n != 2 {
		return err
	}
	c, _, failed := root.Find(strings.Fields(parent)[1:])
	if failed != nil {
		return err
	}
	c.SuggestionsMinimumDistance = likeEnough
	some := c.SuggestionsFor(name)
	if begins := slices.DeleteFunc(slices.Clone(some), func(s string) bool { return !strings.HasPrefix(s, name) }); len(begins) > 0 {
		some = begins
	}
	if len(some) > 0 {
		return fmt.Errorf("%w: is %s meant?", err, strings.Join(some, " or "))
	}
	return err
}
