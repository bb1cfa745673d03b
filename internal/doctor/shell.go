package doctor

import (
	"strings"

	"github.com/mybr/mybr/internal/shell"
)

// command is a command line for sh(1).
func command(words ...string) []string { return []string{shell.Command(words...)} }

// quote has a shell take a word as it is.
func quote(word string) string { return shell.Quote(word) }

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
