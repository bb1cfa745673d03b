// Package shell writes command lines that a person may paste into a root shell: names of links
// and rules of others are in them.
//
// Be aware: nothing is run here, and what a command does is not looked at.
package shell

import (
	"fmt"
	"strings"
)

// Command is a command line for sh(1).
func Command(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

// plainBytes need no quotes in a shell.
const plainBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-"

// Quote has a shell take a word as it is. What does not print is written in a way that does,
// for printf(1).
func Quote(word string) string {
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
