// Package mutate makes one mistake in mybr, so that a test can look whether the others
// notice it. It names a function and a place in it, not a line of source.
package mutate

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Place finds what a mutation replaces inside a function: body, condition, value or text.
type Place func(f *ast.FuncDecl) []ast.Node

// WholeBody is all that the function does.
func WholeBody() Place {
	return func(f *ast.FuncDecl) []ast.Node { return []ast.Node{f.Body} }
}

// Condition is that of an if statement, which mentions all of the words.
func Condition(words ...string) Place {
	return within(func(n ast.Node) (found []ast.Node) {
		if s, ok := n.(*ast.IfStmt); ok && mentions(s.Cond, words) {
			found = append(found, s.Cond)
		}
		return found
	})
}

// Assigned is what is assigned to something that mentions all of the words: to a variable,
// to an element, or to a field of a composite literal.
func Assigned(words ...string) Place {
	return within(func(n ast.Node) (found []ast.Node) {
		switch s := n.(type) {
		case *ast.KeyValueExpr:
			if mentions(s.Key, words) {
				found = append(found, s.Value)
			}
		case *ast.AssignStmt:
			for i, left := range s.Lhs {
				if len(s.Lhs) == len(s.Rhs) && mentions(left, words) {
					found = append(found, s.Rhs[i])
				}
			}
		}
		return found
	})
}

// Literal is a string literal that has all of the words in it.
func Literal(words ...string) Place {
	return within(func(n ast.Node) []ast.Node {
		if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING && mentions(s, words) {
			return []ast.Node{s}
		}
		return nil
	})
}

// within looks at every node of a function's body.
func within(look func(ast.Node) []ast.Node) Place {
	return func(f *ast.FuncDecl) (found []ast.Node) {
		ast.Inspect(f.Body, func(n ast.Node) bool {
			found = append(found, look(n)...)
			return true
		})
		return found
	}
}

// mentions tells whether each word is a name in the node, or in a string of it.
func mentions(n ast.Node, words []string) bool {
	var names, texts []string
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			names = append(names, n.Name)
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				texts = append(texts, text)
			}
		}
		return true
	})
	return !slices.ContainsFunc(words, func(word string) bool {
		return !slices.Contains(names, word) && !slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, word) })
	})
}

// replace gives the source with the one place in the function replaced. FUNCTION or
// TYPE.METHOD names the function; OLD in with stands for what was there. The second result
// tells whether the source has that function.
func replace(source, function string, at Place, with string) (string, bool, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, parser.SkipObjectResolution)
	if err != nil {
		return "", false, err
	}
	for _, f := range functions(file) {
		if nameOf(f) != function {
			continue
		}
		found := at(f)
		if len(found) != 1 {
			var have []string
			for _, n := range found {
				have = append(have, set.Position(n.Pos()).String())
			}
			return "", true, fmt.Errorf("%s has %d such places, want one: %v", function, len(found), have)
		}
		from, to := set.Position(found[0].Pos()).Offset, set.Position(found[0].End()).Offset
		return source[:from] + strings.ReplaceAll(with, "OLD", source[from:to]) + source[to:], true, nil
	}
	return "", false, nil
}

// functions is those that a file declares with a body.
func functions(file *ast.File) (found []*ast.FuncDecl) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			found = append(found, f)
		}
	}
	return found
}

// nameOf is FUNCTION or TYPE.METHOD.
func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	kind := f.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	if generic, ok := kind.(*ast.IndexExpr); ok {
		kind = generic.X
	}
	return fmt.Sprint(kind, ".", f.Name.Name)
}

// Mutation is one mistake.
type Mutation struct {
	Pkg      string // the directory of a package, from the top of the module
	Function string // FUNCTION, or TYPE.METHOD
	At       Place  // in the function
	With     string // what is there instead; OLD stands for what was there
}

// Build builds the package with the mistake: the function and the place are there, and the
// mistake is one that compiles. top leads to the top of the module, and dir is for the files
// of Overlay.
func (m Mutation) Build(top, dir string) error {
	overlay, err := m.Overlay(top, dir)
	if err != nil {
		return err
	}
	build := exec.Command("go", "build", "-overlay="+overlay, "./"+m.Pkg)
	build.Dir = top
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", m.Function, err, out)
	}
	return nil
}

// Overlay writes the mutated file into dir, and the file for go build -overlay that puts it
// in the place of the right one. top leads to the top of the module.
func (m Mutation) Overlay(top, dir string) (path string, err error) {
	files, err := filepath.Glob(filepath.Join(top, m.Pkg, "*.go"))
	if err != nil {
		return "", err
	}
	for _, right := range files {
		if strings.HasSuffix(right, "_test.go") {
			continue
		}
		source, err := os.ReadFile(right)
		if err != nil {
			return "", err
		}
		mutated, found, err := replace(string(source), m.Function, m.At, m.With)
		if err != nil {
			return "", fmt.Errorf("%s: %w", right, err)
		}
		if !found {
			continue
		}
		if right, err = filepath.Abs(right); err != nil {
			return "", err
		}
		wrong := filepath.Join(dir, "mutated.go")
		text, err := json.Marshal(map[string]map[string]string{"Replace": {right: wrong}})
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, "overlay.json")
		if err := os.WriteFile(wrong, []byte(mutated), 0o644); err != nil {
			return "", err
		}
		return path, os.WriteFile(path, text, 0o644)
	}
	return "", fmt.Errorf("package %s has no function %s", m.Pkg, m.Function)
}
