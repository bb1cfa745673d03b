package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
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

// printTable prints rows below their headings, in columns.
func printTable(w io.Writer, headings string, rows [][]any) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
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
	return t.Flush()
}

// dash is a text, or what stands in a table for none.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
