package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// elsewhere are points that no life passes, and why.
var elsewhere = map[string]string{
	"firewalld: before ": "there is no system bus in the namespaces; what firewalld undoes is in package firewalld",
	"firewalld: after ":  "see before",
}

// gaps compares the places that are known with the source: each point is passed somewhere,
// and each call of the protocols is made.
func gaps(t *testing.T, all []passage) {
	t.Helper()
	for _, name := range points(t) {
		passed := slices.ContainsFunc(all, func(p passage) bool { return strings.HasPrefix(p.point, name) })
		if _, excused := elsewhere[name]; passed == excused {
			t.Errorf("point %q: passed is %v, excused %v", name, passed, excused)
		}
	}
	routes, err := os.ReadFile("../../plugin/routes.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`"/(\w+\.\w+)":`).FindAllStringSubmatch(string(routes), -1)
	if len(calls) < 20 {
		t.Errorf("there are %d calls in plugin/routes.go: %q", len(calls), calls)
	}
	for _, m := range calls {
		if !slices.ContainsFunc(all, func(p passage) bool { return p.call == m[1] }) {
			t.Errorf("%s: no life makes this call", m[1])
		}
	}
}

// points is what each point in the source is called, or begins with.
func points(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "../.." && (entry.Name() == "build" || entry.Name() == "integration" || strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Point" && f.Sel.Name != "Passed" {
				return true
			} else if pkg, ok := f.X.(*ast.Ident); !ok || pkg.Name != "fault" {
				return true
			}
			arg := call.Args[0]
			for sum, ok := arg.(*ast.BinaryExpr); ok; sum, ok = arg.(*ast.BinaryExpr) {
				arg = sum.X
			}
			name := ""
			if lit, ok := arg.(*ast.BasicLit); ok {
				name, _ = strconv.Unquote(lit.Value)
			}
			if name == "" {
				t.Errorf("%s: a point whose name does not begin with a string", path)
			}
			names = append(names, name)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 30 {
		t.Errorf("there are %d points in the source: %q", len(names), names)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
