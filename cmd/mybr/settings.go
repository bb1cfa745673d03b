package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// settableOptions is what set commands say of the options that they take.
const settableOptions = `The options are those of docker network create -o:

    mybr.publish.from=CLIENTS        who reaches published ports from outside
    mybr.publish.from.PORT=CLIENTS   who reaches this one; 53/udp is one, too
    mybr.publish.interface=INTERFACES
                                     by which interfaces of the host they come; with .PORT
                                     behind it, likewise
    mybr.publish.policy=host|open    whether the host's own firewall decides about that
    mybr.spoof=refuse|audit|allow    whether containers send from their own addresses alone;
                                     audit counts what is none of their own, and lets it pass
    mybr.egress=LIST                 what containers may begin connections to
    mybr.egress.mode=enforce|audit   whether that is enforced, or what the list does not
                                     have passes and is only told of (mybr denied)
    mybr.icc=RULES                   what they may begin to each other

and of containers, which take the ones above but mybr.icc, too:

    mybr.spoof.addresses=PREFIXES    from which addresses one may send, too
    mybr.spoof.macs=MACS             with which MACs
    mybr.spoof.trusted=dhcp,ra       which services it may be for others
    mybr.group=GROUPS                the groups that mybr.icc names it by

CLIENTS is addresses and prefixes with commas between, @NAME of a list (mybr list), all
or none. INTERFACES is names with commas between, such as eth1,wg0, or all. LIST is like
CLIENTS, with host names, too, such as example.com or *.example.com; each entry can have
:PORT or :FIRST-LAST and /tcp, /udp, /sctp or /icmp behind it, and host:PORT is a port of
the host. RULES is all, none, or GROUP>GROUP with :PORT and a protocol behind it, such as
"web>db:5432,*>dns:53/udp", with * for every container; quote it for the shell. An empty
value takes back what was set, so that the one given at the creation counts again.
Connections that are no longer allowed end.`

func newNetworkSet() *cobra.Command {
	var s seer
	c := commandWith(cobra.Command{
		Use:   "set [flags] NETWORK OPTION=VALUE...",
		Short: "Change options of a network that is there",
		Long: `set changes options of a network while its containers run. A network is given as for
inspect, which shows what is set. ` + settableOptions,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: s.complete(networksOf),
	}, func(cmd *cobra.Command, args []string) error {
		options, err := parseOptions(args[1:])
		if err != nil {
			return err
		}
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		n, err := findNetwork(v, args[0])
		if err != nil {
			return err
		}
		return s.client.Set(cmd.Context(), plugin.Settings{Network: n.ID, Options: options})
	})
	s.askFlags(c)
	return c
}

func newEndpointSet() *cobra.Command {
	var s seer
	var network string
	c := commandWith(cobra.Command{
		Use:   "set [flags] CONTAINER OPTION=VALUE...",
		Short: "Change options of a container's place on a network",
		Long: `set changes options of an endpoint while its container runs: they count instead of the
network's. A container is given by its name or by its endpoint's ID, and is on one
network only, unless --network says which is meant. What is set ends with the endpoint,
which is when the container stops: give what is to last with
docker run --network name=NETWORK,driver-opt=OPTION=VALUE.

` + settableOptions,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: s.complete(containersOf),
	}, func(cmd *cobra.Command, args []string) error {
		options, err := parseOptions(args[1:])
		if err != nil {
			return err
		}
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		e, err := findEndpoint(v, args[0], network)
		if err != nil {
			return err
		}
		return s.client.Set(cmd.Context(), plugin.Settings{Network: e.Network, Endpoint: e.ID, Options: options})
	})
	text(c.Flags(), &network, "network", "network", "", "which of the container's networks is meant", func(string) error { return nil })
	s.askFlags(c)
	return c
}

// parseOptions reads OPTION=VALUE words.
func parseOptions(words []string) (map[string]string, error) {
	options := map[string]string{}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q: want OPTION=VALUE, or OPTION= to take back what was set", word)
		}
		if _, twice := options[name]; twice {
			return nil, fmt.Errorf("option %s is given twice", name)
		}
		options[name] = value
	}
	return options, nil
}

// findEndpoint returns the endpoint that a person means by a container's name or an endpoint's ID,
// on a network; "": on the only one.
func findEndpoint(v view.View, word, network string) (found view.Endpoint, err error) {
	on := view.Network{}
	if network != "" {
		if on, err = findNetwork(v, network); err != nil {
			return found, err
		}
	}
	var named []view.Endpoint
	var places []string
	names := networkNames(v)
	for _, e := range v.Endpoints {
		if word != "" && e.Container == word && (on.ID == "" || e.Network == on.ID) {
			named, places = append(named, e), append(places, names[e.Network])
		}
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		return found, fmt.Errorf("container %q is on %s: say which is meant with --network", word, strings.Join(places, ", "))
	}
	found, err = find(v.Endpoints, "endpoint", word, func(view.Endpoint) []string { return nil }, func(e view.Endpoint) string { return e.ID })
	if err == nil && on.ID != "" && found.Network != on.ID {
		err = fmt.Errorf("endpoint %q is not on network %s", word, called(on.Name, on.ID))
	}
	return found, err
}

// settingText is a setting as a person reads it.
func settingText(s view.Setting) string {
	text := s.Name + "=" + s.Value
	switch {
	case s.Set && s.Given != nil:
		text += " (created with " + *s.Given + ")"
	case s.Set:
		text += " (created without)"
	}
	return text
}

func newList() *cobra.Command {
	return group(cobra.Command{
		Use:   "list",
		Short: "Lists of addresses, which options of networks name",
	}, newListList(), newListSet(), newListRemove())
}

func newListList() *cobra.Command {
	var s seer
	c := command(cobra.Command{
		Use:   "ls [flags]",
		Short: "Show the lists",
		Long: `ls shows the lists, and how many networks and endpoints name each in their options, as
@NAME.`,
	}, func(cmd *cobra.Command) error {
		v, err := s.view(cmd)
		if err != nil {
			return err
		}
		if s.output == outputJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version int         `json:"version"`
				Lists   []view.List `json:"lists"`
			}{formVersion, v.Lists})
		}
		var rows [][]any
		for _, l := range v.Lists {
			var prefixes []string
			for _, p := range l.Prefixes {
				prefixes = append(prefixes, p.String())
			}
			rows = append(rows, []any{l.Name, l.UsedBy, strings.Join(append(prefixes, l.Egress...), ",")})
		}
		return printTable(cmd.OutOrStdout(), "LIST\tUSED BY\tENTRIES", rows)
	})
	outputFlag(c, &s.output)
	runDirFlag(c.Flags(), &s.client.RunDir)
	return c
}

func newListSet() *cobra.Command {
	var client plugin.Client
	c := commandWith(cobra.Command{
		Use:   "set [flags] NAME ENTRY...",
		Short: "Make a list, or give it other entries",
		Long: `set makes a list of addresses and prefixes, or gives the one of that name others. All
networks and endpoints that name it follow at once, and connections that it no longer
allows end. A list that mybr.egress names can have host names, ports and protocols, and
host:PORT; one that mybr.publish.from names can't. Entries can have commas between them,
too.`,
		Args: cobra.MinimumNArgs(2),
	}, func(cmd *cobra.Command, args []string) error {
		return client.SetList(cmd.Context(), plugin.List{Name: args[0], Prefixes: args[1:]})
	})
	runDirFlag(c.Flags(), &client.RunDir)
	return c
}

func newListRemove() *cobra.Command {
	var s seer
	c := commandWith(cobra.Command{
		Use:               "rm [flags] NAME...",
		Short:             "Remove lists that nobody names",
		Long:              `rm removes lists. One that an option of a network or an endpoint names is refused.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: s.complete(listsOf),
	}, func(cmd *cobra.Command, args []string) error {
		var errs []error
		for _, name := range args {
			errs = append(errs, s.client.SetList(cmd.Context(), plugin.List{Name: name, Remove: true}))
		}
		return errors.Join(errs...)
	})
	runDirFlag(c.Flags(), &s.client.RunDir)
	return c
}

// listsOf are the lists' names.
func listsOf(v view.View) (all []cobra.Completion) {
	for _, l := range v.Lists {
		all = append(all, l.Name)
	}
	return all
}
