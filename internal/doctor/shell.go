package doctor

import (
	"fmt"
	"strings"
)

// command is a command line for sh(1).
func command(words ...string) []string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return []string{strings.Join(quoted, " ")}
}

// plainBytes need no quotes in a shell.
const plainBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-"

// quote has a shell take a word as it is. Words are names of links and rules of others: what
// does not print is written in a way that does, for printf(1).
func quote(word string) string {
	plain, prints := word != "", true
	for i := range len(word) {
		plain = plain && strings.IndexByte(plainBytes, word[i]) >= 0
		prints = prints && word[i] >= ' ' && word[i] <= '~'
	}
	switch {
	case plain:
		return word
	case prints:
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	var b strings.Builder
	for i := range len(word) {
		fmt.Fprintf(&b, `\%03o`, word[i])
	}
	return `"$(printf '` + b.String() + `')"`
}

// unquote splits a rule as iptables-save(8) prints it into its words.
func unquote(rule string) (words []string) {
	var word strings.Builder
	quoted, begun := false, false
	for i := 0; i < len(rule); i++ {
		switch c := rule[i]; {
		case c == '"':
			quoted, begun = !quoted, true
		case c == '\\' && quoted && i+1 < len(rule):
			i++
			word.WriteByte(rule[i])
		case c == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}
