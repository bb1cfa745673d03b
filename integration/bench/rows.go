package bench

import "slices"

// Row is one row of what is wanted of mybr's speed, and what is measured for it in one go.
type Row struct {
	ID, What string
	Want     string // the bound in words
	Quick    bool   // bench-quick measures it, in part
	Short    string // what keeps mybr from a bound that is not met, and what was tried: for the document
	Bounds   func(Case) []Bound
}

// Case is what a bound is worked out for: a backend of mybr's on an engine.
type Case struct{ Engine, Mybr string }

// key is a key of the case: of mybr, or of another driver.
func (c Case) key(name string, params ...any) Key { return c.of(c.Mybr, name, params...) }

func (c Case) of(driver, name string, params ...any) Key {
	return NewKey(name, append([]any{"engine", c.Engine, "driver", driver}, params...)...)
}

// against is a quotient of mybr by another driver.
func (c Case) against(driver, name string, params ...any) (num, den []Term) {
	return Of(c.key(name, params...)), Of(c.of(driver, name, params...))
}

// millisecond and mebibyte are limits as they are measured.
const (
	millisecond = 1e6
	mebibyte    = 1 << 20
)

// Rows lists all rows, in the order in which they are measured and shown.
func Rows() []Row {
	return slices.Concat(pathRows(), callRows(), portRows(), insideRows())
}

// RowByID finds a row.
func RowByID(id string) (Row, bool) {
	all := Rows()
	at := slices.IndexFunc(all, func(r Row) bool { return r.ID == id })
	if at < 0 {
		return Row{}, false
	}
	return all[at], true
}

// Verdicts judges all bounds of a row for which the set has values, on each engine, for
// each backend.
func (r Row) Verdicts(set Set) (all []Verdict) {
	for _, engine := range set.Params("engine") {
		for _, driver := range set.Mybrs() {
			c := Case{engine, driver}
			for _, b := range r.Bounds(c) {
				if v, ok := b.Judge(set); ok {
					v.Case = c
					all = append(all, v)
				}
			}
		}
	}
	return all
}

// Mybrs lists the drivers of the set that are mybr's.
func (s Set) Mybrs() []string {
	return slices.DeleteFunc(s.Params("driver"), func(d string) bool {
		return len(d) <= len(MybrPrefix) || d[:len(MybrPrefix)] != MybrPrefix
	})
}
