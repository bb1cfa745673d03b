package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/plugin"
)

func newEgress() *cobra.Command {
	return group(cobra.Command{
		Use:   "egress",
		Short: "Lists of what containers may begin connections to",
	}, newEgressSuggest())
}

func newEgressSuggest() *cobra.Command {
	var s seer
	var container string
	c := commandWith(cobra.Command{
		Use:   "suggest [flags] NETWORK",
		Short: "Print the list that a network would need for what was seen",
		Long: `suggest prints mybr.egress with the list that a network would need: what it has now, and an
entry for each destination that mybr denied shows of it, be it that it was refused or that
it was let through. So a list can be made by watching (mybr.egress.mode=audit), and then be
enforced:

    mybr network set NETWORK "$(mybr egress suggest NETWORK)" mybr.egress.mode=enforce

Read it before: all is in it that anything in a container has tried. What no entry is
suggested for, such as multicast, link-local addresses and protocols other than TCP, UDP,
SCTP and ICMP, is told on the standard error.

Containers with lists of their own are left out; --container is about one container, with
its own list or the network's: mybr endpoint set takes what is printed.

Exit status 1 also when mybr can't hear of what is refused; the list is printed all the
same.`,
		Args:              wantArgs(1),
		ValidArgsFunction: s.complete(networksOf),
	}, func(cmd *cobra.Command, args []string) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		n, err := findNetwork(v, args[0])
		if err != nil {
			return err
		}
		endpoint := ""
		if container != "" {
			e, err := findEndpoint(v, container, n.ID)
			if err != nil {
				return err
			}
			endpoint = e.ID
		}
		all, err := s.client.Suggest(cmd.Context(), n.ID, endpoint)
		if err != nil {
			return err
		}
		containers := containerNames(v)
		for i := range all.Left {
			all.Left[i].Container = containers[all.Left[i].Endpoint]
		}
		if s.output == outputJSON {
			return errors.Join(printJSON(cmd.OutOrStdout(), all), unheard(all.Unheard))
		}
		return errors.Join(printSuggestion(cmd, all), unheard(all.Unheard))
	})
	s.flags(c)
	text(c.Flags(), &container, "container", "container", "", "which container alone is meant, by name or endpoint ID", func(string) error { return nil })
	return c
}

// printSuggestion prints the option alone, so that it can be a word of another command, and the rest
// on the standard error.
func printSuggestion(cmd *cobra.Command, s plugin.Suggestion) error {
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), "mybr.egress="+s.List); err != nil {
		return err
	}
	for _, d := range s.Left {
		who := "an address that is no container's"
		if d.Endpoint != "" {
			who = whoseDenial(d)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "mybr: not in the list: %s %s, which %s has tried %d times\n", d.Protocol, deniedTo(d), who, d.Count)
	}
	if s.Own > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "mybr: containers with lists of their own that were refused something, and are not in it: %d (--container is about one)\n", s.Own)
	}
	return nil
}
