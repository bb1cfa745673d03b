package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/docker"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// noDocker is the value of --docker that asks nobody for names.
const noDocker = "none"

// seer is what commands need that show what mybr knows of its networks.
type seer struct {
	client plugin.Client
	docker string // a host as DOCKER_HOST has it, or noDocker; "": DOCKER_HOST itself
	output string
}

// flags adds the flags of such a command.
func (s *seer) flags(c *cobra.Command) {
	outputFlag(c, &s.output)
	s.askFlags(c)
}

// askFlags adds the flags that say who is asked.
func (s *seer) askFlags(c *cobra.Command) {
	text(c.Flags(), &s.docker, "docker", "host", "", "where Docker is asked for names, unix:///PATH, or none to do without "+
		"(default $DOCKER_HOST, or "+docker.DefaultHost+")", checkDocker)
	runDirFlag(c.Flags(), &s.client.RunDir)
	c.Flags().SortFlags = false
}

func checkDocker(s string) error {
	if s == "" || s == noDocker {
		return nil
	}
	if _, err := docker.ParseHost(s); err != nil {
		return fmt.Errorf("%w, or %s", err, noDocker)
	}
	return nil
}

// view is all that mybr knows. What could not be read is told on the standard error.
func (s *seer) view(cmd *cobra.Command) (view.View, error) {
	v, err := s.client.View(cmd.Context())
	if err == nil && v.Unknown != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "mybr: not all could be read:", strings.ReplaceAll(v.Unknown, "\n", "; "))
	}
	return v, err
}

// see is view with Docker's names. That they are missing is told on the standard error.
func (s *seer) see(cmd *cobra.Command) (view.View, error) {
	v, err := s.view(cmd)
	if err != nil {
		return v, err
	}
	if len(v.Networks) > 0 {
		names := s.names(cmd)
		v.Name(names.Containers, names.Networks)
	}
	return v, nil
}

// names are Docker's, none if they are not wanted. That they can't be had is told on the
// standard error.
func (s *seer) names(cmd *cobra.Command) (names docker.Names) {
	socket, err := dockerSocket(s.docker)
	if err == nil && socket != "" {
		names, err = docker.Client{Socket: socket}.Names(cmd.Context())
	}
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "mybr: names of containers and networks are missing:", oneLine(err))
	}
	for _, m := range []map[string]string{names.Containers, names.Networks} {
		for id, name := range m {
			m[id] = plugin.Printable(name)
		}
	}
	return names
}

// dockerSocket is where Docker is asked; "" if it is not to be asked. Other machines are not.
func dockerSocket(host string) (string, error) {
	from := "--docker"
	if host == "" {
		host, from = cmp.Or(os.Getenv("DOCKER_HOST"), docker.DefaultHost), "DOCKER_HOST"
	}
	if host == noDocker {
		return "", nil
	}
	socket, err := docker.ParseHost(host)
	if err != nil {
		return "", fmt.Errorf("%s %q: %w", from, host, err)
	}
	return socket, nil
}

// A shortID is the beginning of an ID that Docker's commands print, too.
const shortID = 12

// short is the beginning of an ID.
func short(id string) string { return id[:min(len(id), shortID)] }

// called is a name, or the beginning of an ID where none is known.
func called(name, id string) string {
	if name != "" {
		return name
	}
	return short(id)
}

// networkNames are the names of all networks by ID, as called has them.
func networkNames(v view.View) map[string]string {
	names := make(map[string]string, len(v.Networks))
	for _, n := range v.Networks {
		names[n.ID] = called(n.Name, n.ID)
	}
	return names
}

// unknownWord is the error of a word that nothing is called.
type unknownWord struct{ error }

// find returns what a person means: what has that name or ID, or else the one whose ID begins
// so. what is the word for it, and the command that lists it.
func find[T any](all []T, what, word string, names func(T) []string, id func(T) string) (found T, err error) {
	var exact, begins []T
	for _, one := range all {
		switch {
		case id(one) == word || word != "" && slices.Contains(names(one), word):
			exact = append(exact, one)
		case word != "" && strings.HasPrefix(id(one), word):
			begins = append(begins, one)
		}
	}
	if len(exact) == 0 {
		exact = begins
	}
	switch len(exact) {
	case 1:
		return exact[0], nil
	case 0:
		return found, unknownWord{fmt.Errorf("%s %q is unknown: mybr %s ls lists what there is", what, word, what)}
	}
	var ids []string
	for _, one := range exact {
		ids = append(ids, short(id(one)))
	}
	return found, fmt.Errorf("%s %q could be any of %s: give more of the ID", what, word, strings.Join(ids, ", "))
}

// findNetwork returns the network that a person means by its name, its bridge or its ID.
func findNetwork(v view.View, word string) (view.Network, error) {
	return find(v.Networks, "network", word, func(n view.Network) []string { return []string{n.Name, n.Bridge} },
		func(n view.Network) string { return n.ID })
}
