package reliability

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDocumentAndRowsAgree: the document says what is measured, has each row and no other, and says that it was
// tried and survived each time. What it says was measured is not compared.
func TestDocumentAndRowsAgree(t *testing.T) {
	text, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	seen, err := ParseDocument(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), head) {
		t.Errorf("the document begins otherwise than with\n%s", head)
	}
	for _, r := range Rows() {
		m, there := seen[r.Fault]
		switch {
		case !there:
			t.Errorf("the document has no row %q: run make reliability RUN=%s", r.Fault, r.Test)
		case m.Tried == 0 || m.Survived != m.Tried:
			t.Errorf("%s: tried %d times, survived %d", r.Fault, m.Tried, m.Survived)
		case !strings.Contains(string(text), r.line(m)+"\n"):
			t.Errorf("the document's row of %q is out of date, want\n%s", r.Fault, r.line(m))
		}
		delete(seen, r.Fault)
	}
	for fault := range seen {
		t.Errorf("the document has %q, which is no row", fault)
	}
}

// TestRowsHaveTests: each row's fault and test are in the test files of its package, and a
// fault that a test tries is a row.
func TestRowsHaveTests(t *testing.T) {
	found := map[string]*source{}
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "build" || strings.HasPrefix(entry.Name(), ".")) && path != "../.." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		pkg, err := filepath.Rel("../..", filepath.Dir(path))
		if err != nil || pkg == "integration/reliability" {
			return err
		}
		if found[pkg] == nil {
			found[pkg] = &source{}
		}
		return found[pkg].read(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	faults := map[string]bool{}
	for _, r := range Rows() {
		if faults[r.Fault] {
			t.Errorf("there are two rows %q", r.Fault)
		}
		faults[r.Fault] = true
		name, sub, _ := strings.Cut(r.Test, "/")
		if s := found[r.Package()]; s == nil || !slices.Contains(s.tests, name) || sub != "" && !slices.Contains(s.texts, sub) {
			t.Errorf("%s: package %s has no test %s", r.Fault, r.Package(), r.Test)
		} else if !slices.Contains(s.texts, r.Fault) {
			t.Errorf("package %s does not mention %q, which %s ought to try", r.Package(), r.Fault, r.Test)
		}
		if !slices.Contains(Kinds(), r.Kind) || strings.Contains(r.Fault, " | ") {
			t.Errorf("%s: kind %q", r.Fault, r.Kind)
		}
	}
	for pkg, s := range found {
		for _, fault := range s.tried {
			if !faults[fault] {
				t.Errorf("package %s tries %q, which is no row", pkg, fault)
			}
		}
	}
}

// source is what the test files of a package have in them.
type source struct {
	tests []string // names of functions
	texts []string // string literals
	tried []string // those that are given to reliability.Try
}

func (s *source) read(path string) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			s.tests = append(s.tests, n.Name.Name)
		case *ast.BasicLit:
			if text, ok := unquoted(n); ok {
				s.texts = append(s.texts, text)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Try" && len(n.Args) == 3 {
				if pkg, ok := f.X.(*ast.Ident); ok && pkg.Name == "reliability" {
					if text, ok := unquoted(n.Args[1]); ok {
						s.tried = append(s.tried, text)
					}
				}
			}
		}
		return true
	})
	return nil
}

func unquoted(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}
