// Package fold breaks lines that are too long for a page.
//
// Be aware: a word that is longer than a line is left whole, and every character counts as one
// column wide.
package fold

import (
	"strings"
	"unicode/utf8"
)

// Width is that of a page: what commands print is no wider, if it can be.
const Width = 100

// Line is a text in lines no longer than width, if that can be. It breaks at blanks, and those
// within a line stay as many; what begins the text stays with it, and hang is before the further
// lines.
func Line(text, hang string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	body := strings.TrimLeft(text, " ")
	line := text[:len(text)-len(body)]
	var b strings.Builder
	for begun := false; body != ""; begun = true {
		word := body[:len(body)-len(strings.TrimLeft(body, " "))] // with the blanks before it
		rest := body[len(word):]
		end := strings.IndexByte(rest, ' ')
		if end < 0 {
			end = len(rest)
		}
		word, body = word+rest[:end], rest[end:]
		if begun && utf8.RuneCountInString(line)+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line, word = hang, strings.TrimLeft(word, " ")
		}
		line += word
	}
	return b.String() + strings.TrimRight(line, " ")
}
