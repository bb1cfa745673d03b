package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/compose"
	"github.com/mybr/mybr/plugin"
)

// maxComposeFile is how many bytes of a Compose file are read: people's have some thousands.
const maxComposeFile = 4 << 20

func newCompose() *cobra.Command {
	var to string
	var write bool
	c := command(cobra.Command{
		Use:   "compose [flags] FILE",
		Short: "Change the networks of a Compose file to mybr, or back to Docker's own driver",
		Long: `compose prints the Compose file FILE (-: the standard input) with another driver for its
networks. Nothing else of the text is changed, comments included. What differs for the
services of the file goes to the standard error, a line each.

Networks of Docker's own driver and of mybr are changed. External networks and those of
other drivers stay, and so do services with a network_mode. Compose makes the networks
anew: docker compose down before, and docker compose up -d after.

If the driver will refuse something of the file, a line says what, FILE stays as it is,
and the exit status is 1. Nothing is asked of Docker or of a running mybr.`,
		Example: `  mybr compose compose.yaml
  mybr compose --write compose.yaml
  mybr compose --to bridge --write compose.yaml
  mybr compose --to mybr:latest - <compose.yaml`,
	}, nil)
	c.Args = wantArgs(1)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if write && args[0] == "-" {
			return errors.New("--write needs a file: - is the standard input")
		}
		if err := convert(cmd, args[0], to, write); err != nil {
			return failure{err}
		}
		return nil
	}
	text(c.Flags(), &to, "to", "DRIVER", "mybr", "mybr, mybr:TAG (the managed plugin) or bridge", func(s string) error {
		if s == "" {
			return errors.New("want bridge, mybr or mybr:TAG")
		}
		return nil
	})
	toggle(c.Flags(), &write, "write", "change FILE itself and print nothing")
	return c
}

// convert changes one file. Names in it are others' texts.
func convert(cmd *cobra.Command, path, to string, write bool) error {
	before, err := readCompose(cmd.InOrStdin(), path)
	if err != nil {
		return err
	}
	r, err := compose.Convert(before, to, plugin.CheckNetworkOptions)
	if err != nil {
		return fmt.Errorf("%s: %w", plugin.Printable(path), errors.New(plugin.Printable(err.Error())))
	}
	refused := 0
	for _, n := range r.Notes {
		word := "note"
		if n.Refused {
			word = "refused"
			refused++
		}
		about := ""
		if n.About != "" {
			about = n.About + ": "
		}
		fmt.Fprintln(cmd.ErrOrStderr(), plugin.Printable(word+": "+about+n.Text))
	}
	switch {
	case len(r.Networks) == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "unchanged: no network of the file is to have another driver")
	case refused == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), plugin.Printable(fmt.Sprintf("changed: driver %s for %s; docker compose down before, docker compose up -d after",
			to, strings.Join(r.Networks, ", "))))
	}
	if !write {
		if _, err := cmd.OutOrStdout().Write(r.Text); err != nil {
			return err
		}
	}
	if refused > 0 {
		return fmt.Errorf("%s: refused by driver %s: %d, see above", plugin.Printable(path), to, refused)
	}
	if write && len(r.Networks) > 0 {
		return replaceFile(path, r.Text)
	}
	return nil
}

func readCompose(stdin io.Reader, path string) ([]byte, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxComposeFile+1))
	if err == nil && len(text) > maxComposeFile {
		err = fmt.Errorf("%s: larger than %d bytes", plugin.Printable(path), maxComposeFile)
	}
	return text, err
}

// replaceFile puts another file in the place of one, with its mode and owner: who reads it
// meanwhile has the one or the other whole.
func replaceFile(path string, text []byte) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && (int(stat.Uid) != os.Geteuid() || int(stat.Gid) != os.Getegid()) {
		if err := f.Chown(int(stat.Uid), int(stat.Gid)); err != nil {
			return err
		}
	}
	if err := f.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
