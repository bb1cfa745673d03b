package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/page"
)

// The page shows so many events, and so many lines of each.
const (
	shownEvents = 100
	shownLines  = 5
)

// happened lists the latest events as the page shows them, the newest first.
func happened(log *event.Log) (all []page.Event) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is there is read, and nothing is waited for
	for r := log.Follow(shownEvents); ; {
		e, err := r.Next(ctx)
		if err != nil {
			slices.Reverse(all)
			return all
		}
		all = append(all, page.Event{At: e.Time, Kind: strings.ReplaceAll(e.Kind, "-", " "), Text: Printable(sentence(e)), Wrong: wrong(e.Kind)})
	}
}

func wrong(kind string) bool {
	return slices.Contains([]string{event.Failed, event.Fight, event.Healed, event.Lost}, kind)
}

// sentence is an event in a line.
func sentence(e event.Event) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if e.Endpoint != "" {
		add("endpoint %s", model.ShortID(e.Endpoint))
	}
	if e.Network != "" {
		add("network %s", model.ShortID(e.Network))
	}
	if e.Bridge != "" {
		add("bridge %s", e.Bridge)
	}
	if e.Aspect != "" {
		add("%s", e.Aspect)
	}
	lines := slices.Concat(e.Addresses, e.Ports, e.Changes)
	for _, line := range lines[:min(len(lines), shownLines)] {
		add("%s", line)
	}
	if more := len(lines) - shownLines; more > 0 || e.More > 0 {
		add("and %d more", max(more, 0)+e.More)
	}
	if e.By != "" {
		add("changed by %s", e.By)
	}
	if e.Error != "" {
		add("%s", e.Error)
	}
	if e.Missed > 0 {
		add("%d events", e.Missed)
	}
	if len(parts) == 0 && e.Kind == event.Started {
		add("the first pass has ended")
	}
	return strings.Join(parts, "; ")
}
