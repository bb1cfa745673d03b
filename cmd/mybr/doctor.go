package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/docker"
	"github.com/mybr/mybr/internal/doctor"
	"github.com/mybr/mybr/internal/explain/host"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

func newDoctor() *cobra.Command {
	var client plugin.Client
	var env doctor.Env
	var names []string
	var all bool
	var output, dockerHost string
	c := command(cobra.Command{
		Use:   "doctor [flags]",
		Short: "Look for what keeps containers' networks from working, and say what mends it",
		Long: `doctor looks at mybr, at the host's settings, at the rules, links and routes of others, and
at Docker. Each check has a verdict: fault (something does not work), warning (it works
badly, or will not work before long), unknown (it can't be told, and why), note (worth
knowing) or ok; with what was seen, and below $ the very commands that mend it, for a shell
of root's. The worst comes first. Read a command before you run it: it is exact, and it
deletes the rule or ends the process that is in the way.

Nothing is changed. It works without mybr serve and without Docker; then it says what can't
be told. docs/doctor.md explains each check (the package has it in /usr/share/doc/mybr). It
needs root, in the host's namespaces.

Exit status: 0 if there is neither a fault nor a warning, 1 if there is one, 2 if the
command line is wrong. With -o json it prints one object: version (1; it grows when a field
is removed or means something else), taken (the time), and results, the worst first, each
with check, verdict, seen (sentences), means and mend (commands, in this order).`,
		Example: `  mybr doctor
  mybr doctor --check forward-chain --check mtu
  mybr doctor -o json`,
	}, func(cmd *cobra.Command) error {
		if os.Geteuid() != 0 {
			return errors.New("doctor looks at rules and processes, which needs root")
		}
		reach := client.Doctor()
		reach.Version, reach.Name, reach.PluginDir, reach.StateDir = version, env.Name, env.PluginDir, env.StateDir
		socket, err := dockerSocket(dockerHost)
		if err != nil {
			return err
		}
		if socket != "" {
			reach.Docker, reach.DockerHost = docker.Client{Socket: socket}.Get, dockerHost
		}
		reach.View, reach.Paths = named(reach.View, socket), paths
		report, err := doctor.Run(cmd.Context(), reach, names...)
		if err != nil {
			return err
		}
		if output == outputJSON {
			err = printJSON(cmd.OutOrStdout(), report)
		} else {
			err = printReport(cmd.OutOrStdout(), report, all)
		}
		return errors.Join(err, failed(report))
	})
	f := c.Flags()
	add(f, "check", "run this check only; repeatable, in the variable with blanks between", list[string]{to: &names, kind: "name", parse: checkOf})
	toggle(f, &all, "all", "show what was seen by the checks that are ok, too")
	outputFlag(c, &output)
	text(f, &dockerHost, "docker", "host", "", "where Docker is asked for its version and networks, unix:///PATH, or none to do without "+
		"(default $DOCKER_HOST, or "+docker.DefaultHost+")", checkDocker)
	text(f, &env.Name, "name", "name", "mybr", "the plugin's `name`, as mybr serve has it", checkName)
	text(f, &env.PluginDir, "plugin-dir", "dir", "/run/docker/plugins", "folder of the plugin socket, as mybr serve has it", absolute)
	text(f, &env.StateDir, "state-dir", "dir", "/var/lib/mybr", "folder of the records, as mybr serve has it", absolute)
	runDirFlag(f, &client.RunDir)
	completeFlag(c, "check", doctor.Names()...)
	f.SortFlags = false
	return c
}

// named is what mybr knows, with Docker's names as far as they can be had: what Docker can't be
// asked is told by the checks.
func named(see func(context.Context) (view.View, error), socket string) func(context.Context) (view.View, error) {
	return func(ctx context.Context) (view.View, error) {
		v, err := see(ctx)
		if err != nil || socket == "" {
			return v, err
		}
		if names, err := (docker.Client{Socket: socket}).Names(ctx); err == nil {
			v.Name(names.Containers, names.Networks)
		}
		return v, nil
	}
}

// paths reads what the paths of packets to some endpoints are predicted from.
func paths(v view.View, endpoints map[string]bool) (doctor.Paths, error) {
	s, err := host.GatherFor(v, endpoints)
	if err != nil {
		return doctor.Paths{}, err
	}
	return doctor.Paths{World: s.World, Predict: s.Predict, Unread: s.Unread}, nil
}

// checkOf checks the name of a check.
func checkOf(s string) (string, error) {
	return s, oneOf(doctor.Names()...)(s)
}

// failed is the error that a report with faults or warnings ends the command with.
func failed(r doctor.Report) error {
	count := map[doctor.Verdict]int{}
	for _, one := range r.Results {
		count[one.Verdict]++
	}
	if worst := r.Worst(); worst != doctor.Fault && worst != doctor.Warning {
		return nil
	}
	return fmt.Errorf("checks that found a fault: %d, that found something to warn of: %d", count[doctor.Fault], count[doctor.Warning])
}

// What was seen stands behind the verdict; lists are no wider than a page.
const (
	indent = "         "
	wide   = 100
)

// printReport prints the worst first. Texts of others are escaped.
func printReport(w io.Writer, r doctor.Report, all bool) error {
	var b strings.Builder
	var fine []string
	for i, one := range r.Results {
		if one.Verdict == doctor.OK && !all {
			fine = append(fine, one.Check)
			continue
		}
		fmt.Fprintf(&b, "%-8s %s\n", one.Verdict, one.Check)
		if i+1 < len(r.Results) && one.Verdict == doctor.Unknown && slices.Equal(one.Seen, r.Results[i+1].Seen) {
			continue // the reason is below the last one that it is the reason of
		}
		for _, seen := range one.Seen {
			fmt.Fprintf(&b, indent+"%s\n", plugin.Printable(seen))
		}
		if one.Means != "" {
			fmt.Fprintf(&b, indent+"%s\n", one.Means)
		}
		for _, command := range one.Mend {
			fmt.Fprintf(&b, indent+"$ %s\n", plugin.Printable(command))
		}
	}
	if len(fine) > 0 {
		head := string(doctor.OK)
		for line := range wrapped(fine, wide-len(indent)) {
			fmt.Fprintf(&b, "%-8s %s\n", head, line)
			head = ""
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrapped are lines of names with commas between, none longer than width if that can be.
func wrapped(names []string, width int) iter.Seq[string] {
	return func(yield func(string) bool) {
		line := ""
		for i, name := range names {
			if i < len(names)-1 {
				name += ","
			}
			if line != "" && len(line)+1+len(name) > width {
				if !yield(line) {
					return
				}
				line = ""
			}
			line = strings.TrimPrefix(line+" "+name, " ")
		}
		yield(line)
	}
}
