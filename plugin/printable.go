package plugin

import (
	"strings"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/model"
)

// longestError is how many bytes of an error are answered and logged: what a client sent may
// be repeated in it.
const longestError = 4 << 10

// Printable is model.Printable.
func Printable(s string) string { return model.Printable(s) }

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

// CheckNetworkOptions says whether a network can have these -o options, as far as that is
// seen without making it.
func CheckNetworkOptions(options map[string]string, internal, ipv6 bool) error {
	return driver.CheckOptions(options, internal, ipv6)
}
