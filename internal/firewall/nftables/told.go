package nftables

import (
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// The first words of lines for operators, as nft(8) has them.
const (
	wordAdd    = "add"
	wordDelete = "delete"
	wordFlush  = "flush"
)

// tell adds a line for operators: a command of nft(8), save for the quotes of a shell.
func (c *change) tell(verb, object, name, rest string) {
	words := append(make([]string, 0, 8), "nft:", verb, object, c.fam.name())
	if name != "" {
		words = append(words, name)
	}
	switch {
	case rest == "":
	case object == "element":
		words = append(words, "{", rest, "}")
	default:
		words = append(words, rest)
	}
	c.text = append(c.text, strings.Join(words, " "))
}

// told takes apart what tell has put together.
func told(text string) (c firewall.Change, ok bool) {
	rest, ok := strings.CutPrefix(text, "nft: ")
	if !ok {
		return c, false
	}
	f := strings.SplitN(rest, " ", 6)
	if len(f) < 4 {
		return c, false
	}
	c.Command, c.Table, c.Action = "nft", f[2]+" "+f[3], firewall.Added
	if f[0] != wordAdd {
		c.Action = firewall.Deleted
	}
	if len(f) > 4 {
		c.Chain = f[4]
	}
	if len(f) > 5 {
		c.Rule = f[5]
	}
	return c, slices.ContainsFunc([]family{ipv4(), ipv6(), bridge()}, func(fam family) bool { return c.Table == fam.name() })
}
