package model

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Shorten returns the first bytes of a text that others have sent, most of them at most, so
// that it can be repeated in an error. What is missing is marked.
func Shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// Quoted is Shorten, in quotes if the text can't be printed as it is.
func Quoted(s string, most int) string {
	s = Shorten(s, most)
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

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
