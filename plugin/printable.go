package plugin

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mybr/mybr/internal/model"
)

// longestError is how many bytes of an error are answered and logged: what a client sent may
// be repeated in it.
const longestError = 4 << 10

// Printable is a text of others that can be shown in a terminal and put into a log: what does
// not print is escaped as in a Go string, line ends too. That is control characters, escape
// sequences with them, what changes the direction of writing, and what is no UTF-8.
func Printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i]), 16))
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// printableLines is Printable for a text of several lines, such as that of joined errors.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// printableError is the text of an error, shortened.
func printableError(err error) string {
	return printableLines(model.Shorten(err.Error(), longestError))
}
