package model

import "strconv"

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
