package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What takes a time apart loses its monotonic clock reading (package time), and then goes
// wrong when the clock is set. Only what is recorded needs that: ipam says what becomes of
// it when the clock was set back.
func TestTimesAreMonotonic(t *testing.T) {
	apart := []string{"Unix", "UnixNano", "UnixMilli", "UnixMicro", "UTC"}
	for _, p := range packages(t) {
		if p.ImportPath == "ipam" || strings.HasPrefix(p.ImportPath, "integration") {
			continue
		}
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) > 0 {
					return true
				}
				if method, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(apart, method.Sel.Name) {
					t.Errorf("%s: %s takes a time apart", set.Position(call.Pos()), method.Sel.Name)
				}
				return true
			})
		}
	}
}
