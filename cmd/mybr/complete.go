package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/view"
)

// completeWithin bounds what a shell waits for when somebody presses a key.
const completeWithin = 2 * time.Second

// complete has the shell offer the names of what a view has, save those that are there. What
// can't be had is not offered, without a word.
func (s *seer) complete(names func(view.View) []cobra.Completion) cobra.CompletionFunc {
	return s.completeBy(func(v view.View, _ []string) []cobra.Completion { return names(v) })
}

// completeBy is complete where what is offered hangs on the words that are there.
func (s *seer) completeBy(names func(v view.View, args []string) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
		defer cancel()
		quiet := &cobra.Command{}
		quiet.SetContext(ctx)
		quiet.SetErr(io.Discard)
		if err := fromEnvironment(cmd, os.Environ()); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		v, err := s.see(quiet)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		offered := slices.DeleteFunc(names(v, args), func(c cobra.Completion) bool {
			name, _, _ := strings.Cut(c, "\t")
			return !strings.HasPrefix(name, begin) || slices.Contains(args, name)
		})
		slices.Sort(offered)
		return slices.Compact(offered), cobra.ShellCompDirectiveNoFileComp
	}
}

// networksOf are the networks' names, or the beginnings of their IDs.
func networksOf(v view.View) (all []cobra.Completion) {
	for _, n := range v.Networks {
		all = append(all, cobra.CompletionWithDesc(called(n.Name, n.ID), n.Bridge))
	}
	return all
}

// containersOf are the containers' names, or the beginnings of their endpoints' IDs.
func containersOf(v view.View) (all []cobra.Completion) {
	networks := networkNames(v)
	for _, e := range v.Endpoints {
		all = append(all, cobra.CompletionWithDesc(called(e.Container, e.ID), "on "+networks[e.Network]))
	}
	return all
}
