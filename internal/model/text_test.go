package model_test

import (
	"testing"

	"github.com/mybr/mybr/internal/model"
)

func TestQuoted(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"", 4, ""},
		{"abcd", 4, "abcd"},
		{"abcde", 4, "abcd…"},
		{"a b", 4, "a b"},
		{"a\nb", 4, `"a\nb"`},
		{"\x1b[2J!", 4, `"\x1b[2J…"`},
		{`a"b`, 4, `"a\"b"`},
		{"\xff", 4, `"\xff"`},
		{"aä", 2, `"a\xc3…"`}, // cut within a character
	} {
		if got := model.Quoted(c.text, c.most); got != c.want {
			t.Errorf("%q, %d: have %s, want %s", c.text, c.most, got, c.want)
		}
	}
}
