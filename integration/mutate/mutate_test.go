package mutate

import (
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	const source = `package p

func (x *T[V]) f() (y R) {
	if x.on && x.well {
		return R{On: x.a, Name: "-j " + "DROP"}
	}
	if x.off { y.On, y.Name = true, "a" }
	return y
}

func g() { x := 1; if x == 1 {} }
`
	for _, c := range []struct {
		function string
		at       Place
		with     string
		want     string // what is in the result; "": an error
	}{
		{"T.f", Condition("well"), "false", "if false {\n"},
		{"T.f", Condition("off"), "!(OLD)", "if !(x.off) {"},
		{"T.f", Condition("x"), "false", ""},
		{"T.f", Condition("none"), "false", ""},
		{"T.f", Assigned("y", "On"), "false", "y.On, y.Name = false, "},
		{"T.f", Assigned("On"), "false", ""},
		{"T.f", Literal("DROP"), `"ACCEPT"`, `"-j " + "ACCEPT"}`},
		{"T.f", WholeBody(), "{ return }", "(y R) { return }\n\nfunc g"},
		{"g", Condition("x"), "false", "if false {}"},
	} {
		have, found, err := replace(source, c.function, c.at, c.with)
		if !found || (err == nil) != (c.want != "") || !strings.Contains(have, c.want) {
			t.Errorf("%s with %s: found %v, error %v, want %q in\n%s", c.function, c.with, found, err, c.want, have)
		}
	}
	if _, found, err := replace(source, "f", WholeBody(), "{}"); found || err != nil {
		t.Errorf("a function that isn't there: found %v, %v", found, err)
	}
}
