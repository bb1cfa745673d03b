// Package jsonwalk goes through text that is known to be JSON, without making values of it:
// for what is too large for encoding/json to read more often than it must. A container with
// 10,000 published ports has them in each of three requests of 1.2 MB.
//
//	w := jsonwalk.New(text)
//	for token := w.Next(); token != nil; token = w.Next() { … }
//
// Be aware: it checks nothing. Text that encoding/json has not taken (json.Valid) is read as
// something else; it makes nothing panic.
package jsonwalk

import (
	"encoding/json"
	"unicode/utf8"
)

// Walker goes through one text.
type Walker struct {
	text []byte
	at   int
}

// New begins at the beginning of a text. What methods return is part of it, not a copy.
func New(text []byte) *Walker { return &Walker{text: text} }

// Next returns the next token as it is written: one of { } [ ], a string with its quotes, a
// number, true, false or null; nil at the end. What is between tokens is left out, so in an
// object each key comes ahead of its value.
func (w *Walker) Next() []byte {
	for ; w.at < len(w.text); w.at++ {
		switch w.text[w.at] {
		case ' ', '\t', '\r', '\n', ',', ':':
			continue
		case '{', '}', '[', ']':
			return w.cut(1)
		case '"':
			return w.cut(stringLength(w.text[w.at:]))
		}
		return w.cut(plainLength(w.text[w.at:]))
	}
	return nil
}

func (w *Walker) cut(n int) []byte {
	token := w.text[w.at : w.at+n : w.at+n]
	w.at += n
	return token
}

// At is how many bytes of the text are passed.
func (w *Walker) At() int { return w.at }

// Rest returns, whole, the value that the last token begins, and passes it.
func (w *Walker) Rest(token []byte) []byte {
	begin := w.at - len(token)
	for depth := opens(token); depth > 0; depth += opens(token) {
		if token = w.Next(); token == nil {
			break
		}
	}
	return w.text[begin:w.at:w.at]
}

// opens is by how much what follows a token is deeper.
func opens(token []byte) int {
	switch token[0] {
	case '{', '[':
		return 1
	case '}', ']':
		return -1
	}
	return 0
}

// stringLength is the length of a string, with its quotes, that text begins with.
func stringLength(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// plainLength is the length of a number, or of true, false or null.
func plainLength(text []byte) int {
	for i, c := range text {
		switch c {
		case ' ', '\t', '\r', '\n', ',', ':', '{', '}', '[', ']', '"':
			return i
		}
	}
	return len(text)
}

// Text is what a string says, as encoding/json has it: without quotes and escapes, and with
// U+FFFD for what is no UTF-8. plain reports that it is written so, quotes aside.
func Text(token []byte) (text []byte, plain bool) {
	if len(token) < 2 {
		return nil, false
	}
	plain = true
	for _, c := range token[1 : len(token)-1] {
		if c == '\\' || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		return token[1 : len(token)-1], true
	}
	var said string
	if json.Unmarshal(token, &said) != nil {
		return nil, false // it is no string
	}
	return []byte(said), false
}
