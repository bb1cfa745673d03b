package fold

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"  as  it  is", "  as  it  is"},
		{"why: one two three", "why: one two\n     three"},
		{"  → twelve chars", "  → twelve\n     chars"},
		{"a  b   c d eee f", "a  b   c d\n     eee f"},
		{"averyverylongword that", "averyverylongword\n     that"},
	} {
		if have := Line(c.text, "     ", 12); have != c.want {
			t.Errorf("%q: %q", c.text, have)
		}
	}
}

// No word is lost, and a line that is too long is one word.
func TestLineLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching("( {0,4}[a-zé→]{1,30}){0,12}").Draw(t, "text")
		out := Line(text, "    ", 40)
		if have, want := strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(text), " "); have != want {
			t.Fatalf("%q became %q", text, out)
		}
		for _, line := range strings.Split(out, "\n") {
			if utf8.RuneCountInString(line) > 40 && len(strings.Fields(line)) > 1 {
				t.Fatalf("%q is too long", line)
			}
		}
	})
}
