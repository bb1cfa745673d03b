package driver

import (
	"fmt"

	"github.com/mybr/mybr/internal/model"
)

// mostWrong is how many letters may be wrong in the name of an option that is suggested.
const mostWrong = 3

// meant names the option of a network that a wrong name is most like; "" if it is like none.
func meant(key string) string {
	known := []string{optBridge, optICC, optMasquerade, optHostBinding, optInhibit, optTrusted, optMTU, optIfacePrefix, optRoutes, optPolicy, optEgress, optEgressMode, optSpoof, optICCList}
	for _, f := range model.Families() {
		known = append(known, modeKey(f), snatKey(f))
	}
	best, least := "", mostWrong+1
	for _, k := range known {
		if max(len(k), len(key))-min(len(k), len(key)) >= least {
			continue
		}
		if n := wrong(key, k); n < least {
			best, least = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": is %s meant?", best)
}

// wrong is how many bytes must be added, left out or changed to make one text of another
// (Levenshtein).
func wrong(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			n := before
			if a[i] != b[j] {
				n = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], n
		}
	}
	return row[len(b)]
}
