package denied

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a Log with a clock that the test moves.
type world struct {
	*Log
	now   time.Time
	lines []Line
}

func start(t *testing.T, cfg Config) *world {
	t.Helper()
	w := &world{now: time.Now()}
	cfg.Now = func() time.Time { return w.now }
	cfg.Tell = func(l Line) { w.lines = append(w.lines, l) }
	cfg.Most = max(cfg.Most, 1)
	if cfg.Each == 0 {
		cfg.Each = cfg.Burst
	}
	var err error
	if w.Log, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func key(endpoint, name, to, protocol string) Key {
	k := Key{Network: "n" + endpoint, Endpoint: endpoint, Name: name, Protocol: protocol}
	if a, err := netip.ParseAddrPort(to); err == nil {
		k.Address, k.Port = a.Addr(), a.Port()
	} else if to != "" {
		k.Address = netip.MustParseAddr(to)
	}
	return k
}

func TestCounts(t *testing.T) {
	w := start(t, Config{Most: 10, Every: time.Minute, Burst: 100, Pause: time.Second})
	begin := w.now
	a, b := key("a", "example.com", "192.0.2.1:443", "tcp"), key("b", "", "[2001:db8::1]:53", "udp")
	w.Seen(a, false)
	w.now = w.now.Add(time.Second)
	w.Seen(b, true)
	w.Seen(key("a", "example.com", "[::ffff:192.0.2.1]:443", "tcp"), true) // the same, mapped
	got, forgotten := w.Entries("")
	want := []Entry{{a, 2, 1, begin, w.now}, {b, 1, 1, w.now, w.now}}
	if !slices.Equal(got, want) || forgotten != 0 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, _ := w.Entries("nb"); !slices.Equal(got, want[1:]) {
		t.Errorf("of b: %+v", got)
	}
	w.Forget(func(network string) bool { return network == "na" })
	if got, _ := w.Entries(""); !slices.Equal(got, want[1:]) {
		t.Errorf("without a: %+v", got)
	}
	w.Seen(a, false)
	if got, _ := w.Entries("na"); len(got) != 1 || got[0].Count != 1 || got[0].First != w.now {
		t.Errorf("a again: %+v", got)
	}
}

func TestWhatIsSilentLongestIsForgotten(t *testing.T) {
	w := start(t, Config{Most: 3, Every: time.Minute, Burst: 100, Pause: time.Second})
	for _, name := range strings.Fields("a b c a d e a") {
		w.Seen(Key{Endpoint: "x", Name: name}, false)
	}
	got, forgotten := w.Entries("")
	var names []string
	for _, e := range got {
		names = append(names, fmt.Sprint(e.Name, e.Count))
	}
	if !slices.Equal(names, []string{"a3", "d1", "e1"}) || forgotten != 2 {
		t.Errorf("%v, and %d forgotten", names, forgotten)
	}
}

func TestLines(t *testing.T) {
	w := start(t, Config{Most: 100, Every: time.Minute, Burst: 2, Pause: 10 * time.Second})
	see := func(after time.Duration, name, want string) {
		t.Helper()
		w.now, w.lines = w.now.Add(after), nil
		w.Seen(Key{Endpoint: "x", Name: name}, false)
		got := ""
		for _, l := range w.lines {
			got += fmt.Sprintf("%s %d/%d %d", l.Name, l.Since, l.Count, l.Silent)
		}
		if got != want {
			t.Errorf("%s after %s: %q, want %q", name, after, got, want)
		}
	}
	see(0, "a", "a 1/1 0")
	see(time.Second, "a", "") // told lately
	see(0, "b", "b 1/1 0")
	see(0, "c", "") // too many
	see(0, "d", "")
	see(8*time.Second, "c", "")
	see(time.Second, "c", "c 3/3 3") // 10 s: one more
	see(0, "d", "")
	see(50*time.Second, "a", "a 2/3 1")
	see(0, "d", "d 3/3 0")
	see(0, "e", "") // there are never more than two at once
	see(24*time.Hour, "e", "e 2/2 1")
	see(0, "f", "f 1/1 0")
	see(0, "g", "")
}

// Whoever is refused a hundred thousand different names: what is kept and told is bounded, and what
// others are refused is seen and told as if there were nobody else.
func TestOneKeepsNobodyFromBeingSeen(t *testing.T) {
	const most, names, quiets = 64, 100_000, 5
	w := start(t, Config{Most: most, Every: 10 * time.Minute, Burst: 20, Pause: 30 * time.Second, Each: 5})
	for i := range names {
		w.Seen(key("loud", fmt.Sprintf("n%d.example", i), "", "dns"), false)
		if i%(names/quiets) == 0 {
			w.Seen(key("quiet", fmt.Sprintf("q%d.example", i), "", "dns"), false)
		}
		w.now = w.now.Add(6 * time.Millisecond) // all in 10 minutes
		if len(w.of) > most {
			t.Fatalf("%d entries, of %d", len(w.of), most)
		}
	}
	loud, quiet := 0, 0
	for _, l := range w.lines {
		if l.Endpoint == "loud" {
			loud++
		} else {
			quiet++
		}
	}
	// Of the loud one 5 at once, and then one in two minutes; of the other one all.
	if loud != 9 || quiet != quiets {
		t.Errorf("%d lines of the one, want 9, and %d of the other one, want %d", loud, quiet, quiets)
	}
	all, forgotten := w.Entries("nquiet")
	if len(all) != quiets || forgotten != names+quiets-most {
		t.Errorf("of the other one %v; %d forgotten, want %d", all, forgotten, names+quiets-most)
	}
	if all, _ := w.Entries("nloud"); len(all) != most-quiets || !slices.ContainsFunc(all, func(e Entry) bool { return e.Name == "n99999.example" }) {
		t.Errorf("of the one %d entries: %v", len(all), all)
	}
}

// Each loses its own, and of those who have equally many who has been silent longest.
func TestWhoLoses(t *testing.T) {
	w := start(t, Config{Most: 4, Every: time.Minute, Burst: 100, Pause: time.Second})
	for _, k := range strings.Fields("a1 a2 a3 b1 c1 d1 e1 b1 f1 g1") {
		w.now = w.now.Add(time.Second)
		w.Seen(key(k[:1], k+".example", "", "dns"), false)
	}
	var names []string
	all, _ := w.Entries("")
	for _, e := range all {
		names = append(names, e.Name)
	}
	// a loses a1 and a2 to c1 and d1; then all have one: a3 goes for e1, c1 for f1, and d1 for g1.
	if want := []string{"b1.example", "e1.example", "f1.example", "g1.example"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

// A Log is what random calls make of a plain one.
func TestLogIsAsAPlainOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 8
		now := time.Unix(0, 0)
		l, err := New(Config{Most: most, Every: time.Minute, Burst: 4, Each: 2, Pause: time.Minute, Now: func() time.Time { return now }, Tell: func(Line) {}})
		if err != nil {
			t.Fatal(err)
		}
		var plain []Entry // what was seen last comes last
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now = now.Add(time.Second)
			k := key(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "whose"), rapid.SampledFrom([]string{"1", "2", "3", "4", "5"}).Draw(t, "name"), "", "dns")
			if rapid.IntRange(0, 19).Draw(t, "what") == 0 {
				l.Forget(func(network string) bool { return network == k.Network })
				plain = slices.DeleteFunc(plain, func(e Entry) bool { return e.Network == k.Network })
			} else {
				l.Seen(k, false)
				plain = see(plain, most, k, now)
			}
		}
		want := slices.Clone(plain)
		slices.SortFunc(want, func(a, b Entry) int { return a.Key.compare(b.Key) })
		if got, _ := l.Entries(""); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// see is Log.Seen of a list.
func see(plain []Entry, most int, k Key, now time.Time) []Entry {
	e := Entry{Key: k, First: now}
	at := slices.IndexFunc(plain, func(e Entry) bool { return e.Key == k })
	switch {
	case at >= 0:
		e = plain[at]
		plain = slices.Delete(plain, at, at+1)
	case len(plain) >= most:
		has := map[string]int{}
		for _, e := range plain {
			has[e.Endpoint]++
		}
		loser := ""
		for _, e := range plain { // from who has been silent longest
			last := e.Endpoint
			if slices.ContainsFunc(plain, func(o Entry) bool { return o.Endpoint == last && o.Last.After(e.Last) }) {
				continue
			}
			if loser == "" || has[last] > has[loser] {
				loser = last
			}
		}
		at := slices.IndexFunc(plain, func(e Entry) bool { return e.Endpoint == loser })
		plain = slices.Delete(plain, at, at+1)
	}
	e.Count++
	e.Last = now
	return append(plain, e)
}

func TestManyAtOnce(t *testing.T) {
	var lines int
	l, err := New(Config{Most: 8, Every: time.Hour, Burst: 5, Each: 5, Pause: time.Hour, Now: time.Now, Tell: func(Line) { lines++ }})
	if err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	for i := range 4 {
		busy.Go(func() {
			for j := range 1000 {
				l.Seen(Key{Network: fmt.Sprint(i), Port: uint16(j % 16)}, j%2 == 0)
				l.Entries("")
			}
			l.Forget(func(network string) bool { return network == fmt.Sprint(i) })
		})
	}
	busy.Wait()
	if all, forgotten := l.Entries(""); len(all) > 0 || forgotten == 0 || lines != 5 || len(l.whose) != 0 || len(l.shares) != 0 {
		t.Errorf("%v, %d forgotten, %d lines", all, forgotten, lines)
	}
}

// Who follows hears of what is seen once more, too.
func TestChanged(t *testing.T) {
	w := start(t, Config{Most: 1, Every: time.Minute, Burst: 1, Pause: time.Second})
	for range 2 {
		before := w.Changed()
		if before != w.Changed() {
			t.Error("two that wait don't wait for the same")
		}
		select {
		case <-before:
			t.Fatal("nothing was seen, and it has changed")
		default:
		}
		w.Seen(Key{Network: "n"}, false)
		select {
		case <-before:
		default:
			t.Fatal("something was seen, and it has not changed")
		}
	}
}

func TestConfigIsNeeded(t *testing.T) {
	if l, err := New(Config{Most: 1}); err == nil {
		t.Errorf("%v", l)
	}
}

func TestSuggest(t *testing.T) {
	var seen []Entry
	for _, k := range []Key{
		key("a", "example.com", "192.0.2.1:443", "tcp"),
		key("a", "example.com", "192.0.2.2:443", "tcp"), // another address of the same
		key("a", "example.com", "", "dns"),
		key("a", "only.example.com", "", "dns"),
		key("a", "quic.example.com", "192.0.2.1:443", "udp"),
		key("a", "", "192.0.2.7:22", "tcp"),
		key("a", "", "[2001:db8::7]:123", "udp"),
		key("a", "", "2001:db8::8", "icmp"),
		key("a", "", "192.0.2.9", "icmp"),
		key("a", "", "0.0.0.0:8080", "tcp"), // a port that is published
		key("a", "", "[::]:8080", "tcp"),
		key("a", "", "169.254.169.254:80", "tcp"),
		key("a", "not a name", "192.0.2.1:443", "tcp"),
		key("a", "printer", "192.0.2.1:80", "tcp"),
		key("a", "", "192.0.2.1", "gre"),
		{Endpoint: "a", Protocol: "tcp", Port: 80},
	} {
		seen = append(seen, Entry{Key: k})
	}
	got, left := Suggest(seen)
	want := []string{
		"192.0.2.7:22/tcp", "192.0.2.9/icmp", "2001:db8::8/icmp", "[2001:db8::7]:123/udp",
		"example.com:443", "host:8080/tcp", "only.example.com", "quic.example.com:443/udp",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if !slices.Equal(left, seen[11:]) {
		t.Errorf("left are %v", left)
	}
}

func TestString(t *testing.T) {
	for want, k := range map[string]Key{
		`tcp "example.com" 192.0.2.1:443`: key("a", "example.com", "192.0.2.1:443", "tcp"),
		"udp [2001:db8::1]:53":            key("a", "", "[2001:db8::1]:53", "udp"),
		"icmp 192.0.2.1":                  key("a", "", "192.0.2.1", "icmp"),
		`dns "a\nb"`:                      key("a", "a\nb", "", "dns"), // what clients say doesn't break a line
		"tcp port 80":                     {Protocol: "tcp", Port: 80},
	} {
		if got := k.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// BenchmarkSeen is what it costs that something is refused: of a name that is new each time, by one of
// a thousand containers.
func BenchmarkSeen(b *testing.B) {
	l, err := New(Config{Most: 4096, Every: time.Minute, Burst: 20, Each: 5, Pause: time.Minute, Now: time.Now, Tell: func(Line) {}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		l.Seen(Key{Network: "n", Endpoint: fmt.Sprint(i), Name: "a.example", Protocol: "dns"}, false)
	}
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("n%d.example", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Seen(Key{Network: "n", Endpoint: "7", Name: names[i%len(names)], Protocol: "dns"}, false)
	}
}
