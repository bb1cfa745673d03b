package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/fold"
)

// The values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

// formVersion is that of the JSON that commands print: fields are added without a word, and
// it grows when one is removed or means something else.
const formVersion = 1

// outputFlag adds -o, --output.
func outputFlag(c *cobra.Command, to *string) {
	*to = outputText
	addShort(c.Flags(), "output", "o", "form of the output: text for people, json for programs", value[string]{
		to: to, kind: "form",
		parse:  func(s string) (string, error) { return s, oneOf(outputText, outputJSON)(s) },
		format: func(s string) string { return s },
	})
	completeFlag(c, "output", outputText, outputJSON)
}

// completeFlag has the shell offer a flag's values.
func completeFlag(c *cobra.Command, name string, values ...string) {
	err := c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // there is no such flag
	}
}

// printJSON prints one document.
func printJSON(w io.Writer, document any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(document)
}

// printLine prints one document in a line.
func printLine(w io.Writer, document any) error {
	line := json.NewEncoder(w)
	line.SetEscapeHTML(false)
	return line.Encode(document)
}

// leastName is how much of a name is left where a table is too wide.
const leastName = 12

// printTable prints rows below their headings, in columns. Where that is wider than a page, the
// longest texts of the columns that are called so are cut.
func printTable(w io.Writer, headings string, rows [][]any, names ...string) error {
	rows = narrowed(strings.Split(headings, "\t"), rows, names)
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, headings)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) { // without blanks where the last columns have nothing
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// narrowed are the rows of a table with names cut so that it fits a page, if that can be.
func narrowed(headings []string, rows [][]any, names []string) [][]any {
	widths := make([]int, len(headings))
	for i, h := range headings {
		widths[i] = utf8.RuneCountInString(h)
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(fmt.Sprint(row[i])))
		}
	}
	whole := 2 * (len(headings) - 1)
	for _, w := range widths {
		whole += w
	}
	cut := map[int]bool{}
	for ; whole > fold.Width; whole-- {
		widest := -1
		for i, h := range headings {
			if slices.Contains(names, h) && widths[i] > max(leastName, utf8.RuneCountInString(h)) && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		cut[widest] = true
	}
	out := make([][]any, len(rows))
	for r, row := range rows {
		out[r] = slices.Clone(row)
		for i := range cut {
			if text := []rune(fmt.Sprint(row[i])); len(text) > widths[i] {
				out[r][i] = string(text[:widths[i]-1]) + "…"
			}
		}
	}
	return out
}

// dash is a text, or what stands in a table for none.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
