package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// ours yields the commands that do something and are not cobra's.
func ours() (all []*cobra.Command) {
	for c := range below(newRoot()) {
		top, _, _ := strings.Cut(strings.TrimPrefix(c.CommandPath(), "mybr "), " ")
		if top != "help" && top != "completion" && !c.HasSubCommands() {
			all = append(all, c)
		}
	}
	return all
}

// docs/commands.md says what the commands say of themselves.
func TestGoldenReference(t *testing.T) {
	const path = "../../docs/commands.md"
	have := reference(t)
	if *update {
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s is out of date: run make generate, or go test ./cmd/mybr -run Golden -update", path)
	}
}

// reference is the page.
func reference(t *testing.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Commands\n\n<!-- Made of the commands' own help by go test ./cmd/mybr -run Golden -update. -->\n\n%s\n\n", newRoot().Long)
	b.WriteString("Most ask the running `mybr serve` through its admin socket, and so need root, as it does. Names of containers and networks are Docker's: " +
		"the commands ask Docker for them, and everything works without.\n\n")
	b.WriteString("`mybr completion SHELL` prints a script that has the shell complete commands, flags, and the names of networks and containers; " +
		"`mybr completion SHELL --help` says how to load it. `make man` writes manual pages.\n")
	for _, c := range ours() {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n```text\n%s\n```\n", c.CommandPath(), c.Short, c.UseLine())
		if c.Long != "" {
			fmt.Fprintf(&b, "\n%s\n", c.Long)
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```text\n%s\n```\n", c.Example)
		}
		flags := &strings.Builder{}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			name := "`--" + f.Name + "`"
			if f.Shorthand != "" {
				name = "`-" + f.Shorthand + "`, " + name
			}
			kind, usage := pflag.UnquoteUsage(f)
			preset := ""
			if f.DefValue != "" {
				preset = "`" + f.DefValue + "`"
			}
			fmt.Fprintf(flags, "| %s | %s | `%s` | %s | %s |\n", name, kind, variable(f.Name), preset,
				cell(strings.TrimSuffix(usage, " ["+variable(f.Name)+"]")))
		})
		if flags.Len() > 0 {
			fmt.Fprintf(&b, "\n| flag | value | variable | default | |\n| --- | --- | --- | --- | --- |\n%s", flags)
		}
	}
	b.WriteString("\n## JSON\n\nWith `-o json` a command prints one object with `version`, 1, and one list or object beside it; `mybr events` prints an object a line. " +
		"Fields and words are added without notice; `version` grows when one is removed or means something else. " +
		"A field that is marked *optional* is missing where there is nothing to say. Numbers are of up to 64 bits.\n\n" +
		"| command | beside `version` |\n| --- | --- |\n" +
		"| `mybr status` | `status`: a Status |\n| `mybr status --diff` | `differences`: a list of Difference |\n| `mybr sync` | `mended`: a list of Difference |\n" +
		"| `mybr network ls` | `networks`: a list of Network |\n" +
		"| `mybr network inspect` | `networks`: a list of Network, each with `on`, which has `endpoints` and `ports` as below |\n" +
		"| `mybr endpoint ls` | `endpoints`: a list of Endpoint |\n| `mybr ports` | `ports`: a list of Port |\n| `mybr pool ls` | `pools`: a list of Pool |\n| `mybr list ls` | `lists`: a list of List |\n" +
		"| `mybr denied` | the fields of Denied; with `--follow` those of a Denial, an object a line |\n| `mybr egress suggest` | the fields of a Suggestion |\n" +
		"| `mybr rules` | the fields of Rules |\n" +
		"| `mybr explain` | the fields of a Result and, with `--send`, `sent`: a Sent |\n" +
		"| `mybr doctor` | `taken` and `results`, as [above](#mybr-doctor) |\n" +
		"| `mybr events` | the fields of an Event |\n")
	for _, c := range ours() {
		if c.Flags().Lookup("output") != nil && !strings.Contains(b.String(), "\n| `"+c.CommandPath()+"` | ") {
			t.Errorf("what %s -o json prints is not said", c.CommandPath())
		}
	}
	for _, s := range []struct{ file, types string }{
		{"plugin/admin.go", "Status Healed Difference"},
		{"internal/view/view.go", "Network Setting Subnet Endpoint Port Traffic Pool List"},
		{"internal/view/rules.go", "Rules Rule RuleDifference Counted"},
		{"internal/explain/result.go", "Result Step"},
		{"internal/explain/hook.go", "RuleAt"},
		{"internal/explain/host/send.go", "Sent"},
		{"internal/explain/host/trace.go", "Traced"},
		{"internal/event/event.go", "Event"},
		{"plugin/denied.go", "Denied Denial Suggestion"},
	} {
		for name := range strings.FieldsSeq(s.types) {
			b.WriteString(form(t, s.file, name))
			switch name {
			case "Port":
				b.WriteString(words(t, s.file, "carried", "ByNAT"))
			case "Event":
				b.WriteString(words(t, s.file, "kind", "Started"))
			}
		}
	}
	return b.String()
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(strings.TrimSpace(s))
}

// form is a table of the fields of a type's JSON, with what its source says of them.
func form(t *testing.T, file, name string) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", file), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	ast.Inspect(f, func(n ast.Node) bool {
		decl, ok := n.(*ast.GenDecl)
		if !ok || len(decl.Specs) != 1 {
			return true
		}
		spec, ok := decl.Specs[0].(*ast.TypeSpec)
		if !ok || spec.Name.Name != name {
			return true
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| field | | |\n| --- | --- | --- |\n", name, strings.TrimSpace(decl.Doc.Text()))
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json")
			key, options, _ := strings.Cut(tag, ",")
			optional := ""
			if options != "" {
				optional = "optional"
			}
			about := cell(field.Doc.Text())
			if about == "" {
				about = cell(field.Comment.Text())
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", key, optional, about)
		}
		return false
	})
	if b.Len() == 0 {
		t.Fatalf("%s has no type %s", file, name)
	}
	return b.String()
}

// words is a table of the values that a field has: the constants of a group, with what their
// source says of them.
func words(t *testing.T, file, field, first string) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", file), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST || decl.Specs[0].(*ast.ValueSpec).Names[0].Name != first {
			continue
		}
		fmt.Fprintf(&b, "\n| `%s` | |\n| --- | --- |\n", field)
		for _, spec := range decl.Specs {
			v := spec.(*ast.ValueSpec)
			text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", text, cell(v.Comment.Text()))
		}
	}
	if b.Len() == 0 {
		t.Fatalf("%s has no constants that begin with %s", file, first)
	}
	return b.String()
}

// The manual pages lose nothing of what the help says: their source is Markdown to cobra,
// which takes some characters for markup.
func TestManPages(t *testing.T) {
	word := regexp.MustCompile(`[\pL\pN]+`)
	for _, c := range ours() {
		var page bytes.Buffer
		if err := doc.GenMan(c, &doc.GenManHeader{Section: "8"}, &page); err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, w := range word.FindAllString(strings.ReplaceAll(page.String(), `\-`, "-"), -1) {
			has[w] = true
		}
		text := c.Long + " " + c.Short + " " + c.Example
		c.Flags().VisitAll(func(f *pflag.Flag) { text += " " + f.Name + " " + strings.ReplaceAll(f.Usage, "`", "") })
		for _, w := range word.FindAllString(text, -1) {
			if !has[w] {
				t.Errorf("%s: the word %q is missing on the manual page", c.CommandPath(), w)
			}
		}
	}
}
