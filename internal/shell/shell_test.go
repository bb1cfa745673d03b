package shell

import (
	"os/exec"
	"testing"

	"pgregory.net/rapid"
)

// A shell takes every word as it is, but for the end of lines, which $(…) cuts off.
func TestQuote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching("[\x01-\x7fäß]*[!-~]").Draw(t, "word")
		out, err := exec.Command("sh", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Fatalf("%q became %q, %v, by %s", word, out, err, Quote(word))
		}
	})
	if have := Command("ip", "link", "set", "a b", "up"); have != "ip link set 'a b' up" {
		t.Error(have)
	}
}
