package page

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/view"
)

// How things are, as the page colours them.
const (
	good = "good"
	odd  = "odd"
	bad  = "bad"
)

// document is what the template shows. What is not in its JSON form is no news.
type document struct {
	Host   string
	Health Health
	Unread string // why the networks could not be read; "": they could

	Tone     string // one of good, odd and bad
	Headline string
	Details  []string
	Tiles    []tile
	Drawn    string // tag of the drawing; "": there is none

	DrawnPartly string // what of the host is not drawn, and why

	Networks  table[view.Network]
	Endpoints table[view.Endpoint]
	Ports     table[view.Port]
	Pools     table[view.Pool]
	Partly    string // why some of these is missing

	Events    []Event
	HasEvents bool
	Exam      *Exam
	Well      int // findings of Exam that are fine
	Untold    int // those that can't be told here

	view view.View
}

// tile is one number of the overview.
type tile struct{ Name, Number, More string }

// table is as many rows as are shown.
type table[T any] struct {
	Rows []T
	More int // that are not
}

func rows[T any](all []T) table[T] {
	shown := all[:min(len(all), maxRows)]
	return table[T]{Rows: shown, More: len(all) - len(shown)}
}

// document asks for everything.
func (s *server) document(ctx context.Context) document {
	d := document{Host: s.Host, Health: s.Health(ctx)}
	v, err := s.View(ctx)
	if err != nil {
		d.Unread = err.Error()
	}
	d.view, d.Partly = v, v.Unknown
	d.Networks, d.Endpoints, d.Ports, d.Pools = rows(v.Networks), rows(v.Endpoints), rows(v.Ports), rows(v.Pools)
	if s.Events != nil {
		d.Events, d.HasEvents = s.Events(), true
	}
	if s.Findings != nil {
		e := s.Findings(ctx)
		e.Findings = slices.Clone(e.Findings)
		slices.SortStableFunc(e.Findings, func(a, b Finding) int { return cmp.Compare(rank(a.Verdict), rank(b.Verdict)) })
		for _, f := range e.Findings {
			switch f.Verdict {
			case Fine:
				d.Well++
			case Unknown:
				d.Untold++
			}
		}
		d.Exam = &e
	}
	d.overview(v)
	d.headline()
	return d
}

// rank puts the worst first.
func rank(verdict string) int {
	return slices.Index([]string{Fault, Warning, Unknown, Note, Fine}, verdict)
}

// headline says in a few words how it all is.
func (d *document) headline() {
	differs, faults, unseen := 0, 0, false
	for _, f := range d.Health.Differences {
		differs += len(f.Changes)
		unseen = unseen || f.Error != ""
	}
	if d.Exam != nil {
		for _, f := range d.Exam.Findings {
			if f.Verdict == Fault {
				faults++
			}
		}
	}
	d.Tone = bad
	switch {
	case d.Unread != "":
		d.Headline = "mybr can’t read its records"
		d.Details = append(d.Details, d.Unread)
	case !d.Health.Ready:
		d.Tone, d.Headline = odd, "The host is being made to match the records"
		d.Details = append(d.Details, "Docker’s calls wait until the first pass has ended.")
	case d.Health.Failed != "":
		d.Headline = "The host does not match the records"
		d.Details = append(d.Details, strings.Split(d.Health.Failed, "\n")...)
		d.Details = append(d.Details, "mybr tries again by itself.")
	case differs > 0:
		d.Headline = "The host differs from the records in " + count(differs, "place", "places")
	case faults > 0:
		d.Headline = "The doctor has found " + count(faults, "fault", "faults")
	case unseen || d.Health.Unknown != "" || d.Partly != "":
		d.Tone, d.Headline = odd, "Not all of the host could be looked at"
	default:
		d.Tone, d.Headline = good, "The host matches the records"
	}
	for _, text := range []string{d.Health.Unknown, d.Partly} {
		if text != "" {
			d.Details = append(d.Details, strings.Split(text, "\n")...)
		}
	}
	if d.Health.Late != "" {
		d.Details = append(d.Details, "What other programs change is noticed late: "+d.Health.Late+".")
	}
}

// overview counts.
func (d *document) overview(v view.View) {
	joined, published, used := 0, 0, uint64(0)
	for _, e := range v.Endpoints {
		if e.Sandbox != "" {
			joined++
		}
	}
	for _, p := range v.Ports {
		published += int(p.Count)
	}
	for _, p := range v.Pools {
		used += p.Used
	}
	waiting := ""
	if n := len(v.Endpoints) - joined; n > 0 {
		waiting = fmt.Sprintf("and %d that none has joined", n)
	}
	d.Tiles = []tile{
		{"Networks", strconv.Itoa(len(v.Networks)), ""},
		{"Containers’ endpoints", strconv.Itoa(joined), waiting},
		{"Published ports", strconv.Itoa(published), ""},
	}
	if len(v.Pools) > 0 {
		d.Tiles = append(d.Tiles, tile{"Addresses in use", strconv.FormatUint(used, 10), "of " + count(len(v.Pools), "pool", "pools")})
	}
}

// words are the functions of the template. stamp is the version of the page's files.
func words(stamp string) template.FuncMap {
	return template.FuncMap{
		"file":    func(name string) string { return name + "?v=" + stamp },
		"short":   model.ShortID,
		"when":    func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
		"stamp":   func(t time.Time) string { return t.Format(time.RFC3339) },
		"span":    view.Span,
		"count":   count,
		"large":   large,
		"carried": carried,
		"fine":    func(f Finding) bool { return f.Verdict == Fine },
		"untold":  func(f Finding) bool { return f.Verdict == Unknown },
		"share":   share,
		"addr": func(p netip.Prefix) string {
			if !p.IsValid() {
				return ""
			}
			return p.Addr().String()
		},
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// large is a number that people can read: of an IPv6 subnet, it has twenty digits.
func large(n uint64) string {
	if n < 1_000_000 {
		return strconv.FormatUint(n, 10)
	}
	if n == math.MaxUint64 {
		return "2⁶⁴ or more"
	}
	return fmt.Sprintf("%.1f·10%s", float64(n)/math.Pow10(digits(n)-1), raised(digits(n)-1))
}

func digits(n uint64) int { return len(strconv.FormatUint(n, 10)) }

func raised(n int) string {
	var b strings.Builder
	for _, digit := range strconv.Itoa(n) {
		b.WriteRune([]rune("⁰¹²³⁴⁵⁶⁷⁸⁹")[digit-'0'])
	}
	return b.String()
}

func carried(how string) string {
	switch how {
	case view.ByNAT:
		return "NAT"
	case view.ByProcess:
		return "the process"
	case view.Directly:
		return "direct, at the container’s address"
	case view.Closed:
		return "nothing: the process can’t carry SCTP"
	}
	return how
}

// share is how much of a pool is in use, from 0 to 1.
func share(p view.Pool) string {
	if p.Size == 0 {
		return "0"
	}
	return strconv.FormatFloat(min(float64(p.Used)/float64(p.Size), 1), 'f', 4, 64)
}
