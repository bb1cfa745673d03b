package plugin

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/page"
)

// The page has the latest events, the newest first, each in a line that can be printed.
func TestHappened(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	log := &event.Log{}
	if got := happened(log); len(got) != 0 {
		t.Fatalf("before anything has happened: %+v", got)
	}
	var want []page.Event
	for _, c := range []struct {
		event event.Event
		kind  string
		text  string
		wrong bool
	}{
		{event.Event{Kind: event.Started}, "started", "the first pass has ended", false},
		{event.Event{Kind: event.NetworkCreated, Network: "4f2a91c0d3e5aabbccdd", Bridge: "br-4f2a91c0d3e5", Addresses: []string{"172.18.0.0/16"}},
			"network created", "network 4f2a91c0d3e5; bridge br-4f2a91c0d3e5; 172.18.0.0/16", false},
		{event.Event{Kind: event.PortPublished, Endpoint: "a1b2c3d4e5f60718", Ports: []string{"tcp 0.0.0.0:8080 -> 172.18.0.2:80"}},
			"port published", "endpoint a1b2c3d4e5f6; tcp 0.0.0.0:8080 -> 172.18.0.2:80", false},
		{event.Event{Kind: event.Healed, Aspect: "links", Changes: []string{"1", "2", "3", "4", "5", "6", "7"}, By: "ip\x1b[2J (pid 7)", More: 1},
			"healed", `links; 1; 2; 3; 4; 5; and 3 more; changed by ip\x1b[2J (pid 7)`, true},
		{event.Event{Kind: event.Failed, Error: "no such\nlink"}, "failed", `no such\nlink`, true},
	} {
		c.event.Time = at
		log.Add(c.event)
		want = append([]page.Event{{At: at, Kind: c.kind, Text: c.text, Wrong: c.wrong}}, want...)
	}
	if got := happened(log); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for i := range 2 * event.Kept {
		log.Add(event.Event{Kind: event.Changed, Changes: []string{fmt.Sprint(i)}})
	}
	if got := happened(log); len(got) != shownEvents || got[0].Text != fmt.Sprint(2*event.Kept-1) {
		t.Errorf("of many, %d: %+v", len(got), got[0])
	}
}
