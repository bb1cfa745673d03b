package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const envPrefix = "MYBR_"

// variable is the environment variable of a flag.
func variable(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// value is a flag's value, checked as it is set, so that flags and variables are
// checked alike.
type value[T any] struct {
	to     *T
	parse  func(string) (T, error)
	format func(T) string
	kind   string // the placeholder in help texts
}

func (v value[T]) Set(s string) error {
	parsed, err := v.parse(s)
	if err == nil {
		*v.to = parsed
	}
	return err
}

func (v value[T]) String() string { return v.format(*v.to) }

func (v value[T]) Type() string { return v.kind }

// text adds a flag whose value is a string that check accepts.
func text(flags *pflag.FlagSet, to *string, name, kind, preset, usage string, check func(string) error) {
	*to = preset
	add(flags, name, usage, value[string]{
		to: to, kind: kind,
		parse:  func(s string) (string, error) { return s, check(s) },
		format: func(s string) string { return s },
	})
}

// add adds a flag and puts its variable into its help text.
func add(flags *pflag.FlagSet, name, usage string, v pflag.Value) {
	addShort(flags, name, "", usage, v)
}

// addShort is add for a flag that has a letter, too.
func addShort(flags *pflag.FlagSet, name, letter, usage string, v pflag.Value) {
	flags.VarP(v, name, letter, fmt.Sprintf("%s [%s]", usage, variable(name)))
}

// toggle adds a flag that is off unless it is given; --name alone turns it on.
func toggle(flags *pflag.FlagSet, to *bool, name, usage string) {
	add(flags, name, usage, value[bool]{to: to, kind: "bool", parse: parseBool, format: strconv.FormatBool})
	flags.Lookup(name).NoOptDefVal = "true"
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, errors.New("want true or false")
	}
	return b, nil
}

// list is a flag that can be given again and again; its variable holds the values
// with blanks between them.
type list[T any] struct {
	to    *[]T
	parse func(string) (T, error)
	kind  string
}

func (l list[T]) Set(s string) error {
	parsed, err := l.parse(s)
	if err == nil {
		*l.to = append(*l.to, parsed)
	}
	return err
}

func (l list[T]) String() string { return "" } // pflag shows the default from it: none

func (l list[T]) Type() string { return l.kind }

func (l list[T]) split(s string) []string { return strings.Fields(s) }

// fromEnvironment sets the flags that the command line has not set. Variables
// that begin like mybr's but belong to no flag of any command are refused: they
// are misspelt.
func fromEnvironment(cmd *cobra.Command, environ []string) error {
	known := make(map[string]bool)
	for c := range below(cmd.Root()) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[variable(f.Name)] = true })
	}
	delete(known, variable("help"))
	var errs []error
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, content, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, envPrefix) && !known[name] {
			errs = append(errs, fmt.Errorf("unknown environment variable %s", name))
			continue
		}
		if f := flagOf(cmd, name); f != nil && !f.Changed && content != "" {
			errs = append(errs, fromVariable(f, name, content))
		}
	}
	return errors.Join(errs...)
}

func flagOf(cmd *cobra.Command, name string) (found *pflag.Flag) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if variable(f.Name) == name && f.Name != "help" {
			found = f
		}
	})
	return found
}

func fromVariable(f *pflag.Flag, name, content string) error {
	parts := []string{content}
	if l, ok := f.Value.(interface{ split(string) []string }); ok {
		parts = l.split(content)
	}
	for _, part := range parts {
		if err := f.Value.Set(part); err != nil {
			return fmt.Errorf("invalid argument %q in environment variable %s (--%s): %w", part, name, f.Name, err)
		}
	}
	f.Changed = true // as FlagSet.Set has it for what the command line says
	return nil
}

// absolute checks a folder's path. Relative ones would depend on where the process
// was started.
func absolute(s string) error {
	if !filepath.IsAbs(s) {
		return errors.New("want an absolute path")
	}
	return nil
}

// oneOf checks a word.
func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(words, s) {
			return fmt.Errorf("want one of %s", strings.Join(words, ", "))
		}
		return nil
	}
}

// runDirFlag adds --run-dir, which tells the commands where the process is found.
func runDirFlag(flags *pflag.FlagSet, to *string) {
	text(flags, to, "run-dir", "dir", "/run/mybr", "folder of the admin socket, mybr.sock", absolute)
}
