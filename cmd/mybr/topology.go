package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/topology"
	"github.com/mybr/mybr/internal/topology/here"
	"github.com/mybr/mybr/internal/view"
)

// drawing is how mybr topology draws.
type drawing struct {
	svg             string // a file
	dot, ascii, all bool
}

func newTopology() *cobra.Command {
	var s seer
	var how drawing
	c := command(cobra.Command{
		Use:   "topology [flags]",
		Short: "Draw the networks: the LAN, the host, bridges, veth pairs and containers",
		Long: `topology draws the host's networks as textbooks do: the LAN; the host, with its
interfaces that lead outside, the published ports where NAT translates, and the bridges
with their addresses; and containers, with a veth pair to each of their networks. It
takes 100 columns at most.

Double frames are network namespaces. A bridge that no line from above leads to has no
way out. Where lines cross (┼) they don't meet.

It draws what is recorded; mybr status compares that with the host. Of many containers,
networks and ports only some are drawn, and the others counted, unless --all is given.`,
		Example: `  mybr topology
  mybr topology --svg networks.svg
  mybr topology --dot | dot -Tpdf >networks.pdf`,
	}, func(cmd *cobra.Command) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		return how.draw(cmd, v)
	})
	text(c.Flags(), &how.svg, "svg", "file", "", "write a picture for browsers, of either theme, to this file; -: to the standard output", fileOrDash)
	toggle(c.Flags(), &how.dot, "dot", "print a graph in the language of Graphviz")
	toggle(c.Flags(), &how.ascii, "ascii", "draw with the characters of ASCII alone")
	toggle(c.Flags(), &how.all, "all", "draw everything, however much it is")
	s.askFlags(c)
	variables := c.PreRunE
	c.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := variables(cmd, args); err != nil {
			return err
		}
		return how.check()
	}
	return c
}

func fileOrDash(s string) error {
	if s == "" {
		return errors.New("want a file, or - for the standard output")
	}
	return nil
}

// check refuses what can't be had together, whether flags or variables ask for it.
func (how drawing) check() error {
	asked := 0
	for _, form := range []bool{how.ascii, how.dot, how.svg != ""} {
		if form {
			asked++
		}
	}
	if asked > 1 {
		return errors.New("--ascii, --dot and --svg are different forms: give one of them")
	}
	return nil
}

func (how drawing) draw(cmd *cobra.Command, v view.View) error {
	host, err := here.Read(v)
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "mybr: not all of the host could be read:", oneLine(err))
	}
	limits := topology.Usual
	if how.all {
		limits = topology.All
	}
	scene := topology.Of(v, host, limits)
	switch {
	case how.svg != "" && how.svg != "-":
		if err := os.WriteFile(how.svg, scene.SVG(), 0o644); err != nil {
			return fmt.Errorf("write the picture: %w", err)
		}
		return nil
	case how.svg != "":
		_, err = cmd.OutOrStdout().Write(scene.SVG())
	case how.dot:
		_, err = cmd.OutOrStdout().Write(scene.DOT())
	case how.ascii:
		_, err = fmt.Fprint(cmd.OutOrStdout(), scene.Text(topology.ASCII))
	default:
		_, err = fmt.Fprint(cmd.OutOrStdout(), scene.Text(topology.Unicode))
	}
	return err
}
