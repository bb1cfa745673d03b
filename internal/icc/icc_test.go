package icc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/icc"
	"github.com/mybr/mybr/internal/model"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{ // want: of an error, a part of it behind "!"
		{"web>db:5432", "web>db:5432"},
		{" web > db : 5432 , web>cache:6379/tcp, *>dns:53/udp ", "*>dns:53/udp,web>cache:6379/tcp,web>db:5432"},
		{"a>b,a>b", "a>b"}, {"*>*/icmp", "*>*/icmp"}, {"a>b:1-65535/sctp", "a>b:1-65535/sctp"}, {"a>b:7-7", "a>b:7"},
		{"a.b_c-D9>x", "a.b_c-D9>x"},
		{"", "!there is a rule missing between commas: want GROUP>GROUP"}, {"a>b,", "!there is a rule missing"},
		{"web", "!web: want GROUP>GROUP"}, {"web:80", "!web:80: want GROUP>GROUP"},
		{"all>b", "!all is a word of its own"}, {"a>none", "!none is a word of its own"},
		{">b", "!is no name of a group"}, {"a>", "!is no name of a group"}, {"a b>c", "!a b is no name of a group"},
		{"a>b>c", "!b>c is no name of a group"}, {"**>b", "!** is no name of a group"}, {"ä>b", "!is no name of a group"},
		{strings.Repeat("x", 64) + ">b", "!is no name of a group: want 1 to 63"},
		{"a>b:0", "!0 is no port: want a number from 1 to 65535"}, {"a>b:65536", "!65536 is no port"}, {"a>b:", "!is no port"},
		{"a>b:9-8", "!ports 9-8: the first is behind the last"}, {"a>b:+7", "!+7 is no port"}, {"a>b:http", "!http is no port"},
		{"a>b:80/http", "!http is no protocol: want tcp, udp, sctp or icmp"}, {"a>b/", "!is no protocol"},
		{"a>b:8/icmp", "!ICMP has no ports"},
	} {
		l, err := icc.Parse(c.text)
		if wrong, fails := strings.CutPrefix(c.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%q: %q, %v; want the error %q", c.text, l, err, wrong)
			}
		} else if err != nil || l.String() != c.want {
			t.Errorf("%q: %q, %v; want %q", c.text, l, err, c.want)
		}
	}
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf("a>b:%d", i+1))
	}
	if _, err := icc.Parse(strings.Join(many[:64], ",")); err != nil {
		t.Error(err)
	}
	if _, err := icc.Parse(strings.Join(many, ",")); err == nil || !strings.Contains(err.Error(), "more than 64 rules") {
		t.Errorf("65 rules: %v", err)
	}
}

func TestParseGroups(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"web", "web"}, {" web , db,web", "db,web"}, {"none", "none"}, {" none ", "none"},
		{"", "!is no name of a group"}, {"a,", "!is no name"}, {"a,none", "!none is a word of its own"}, {"*", "!* is no name"}, {"a>b", "!a>b is no name"},
	} {
		got, err := icc.ParseGroups(c.text)
		if wrong, fails := strings.CutPrefix(c.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%q: %q, %v; want the error %q", c.text, got, err, wrong)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
	if _, err := icc.ParseGroups("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"); err == nil || !strings.Contains(err.Error(), "more than 16") {
		t.Errorf("17 groups: %v", err)
	}
}

func TestBegins(t *testing.T) {
	l, err := icc.Parse("web>db:5432,web>db:5433/tcp,web>db:100-200/udp,web>db:150-300/udp,ops>*,*>dns:53/udp,db>db/icmp,db>db:9/tcp,db>db/tcp")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(l.Groups(), " "); got != "db dns ops web" {
		t.Errorf("groups %s", got)
	}
	for _, c := range []struct{ from, to, want string }{
		{"web", "db", "tcp 5432-5433; udp 100-300; udp 5432; sctp 5432"},
		{"web", "db,dns", "tcp 5432-5433; udp 53; udp 100-300; udp 5432; sctp 5432"},
		{"db", "web", ""}, {"", "db", ""}, {"", "dns", "udp 53"}, {"dns", "dns", "udp 53"},
		{"ops", "", "everything"}, {"db,ops", "web", "everything"}, {"", "ops", ""},
		{"db", "db", "icmp; tcp"},
	} {
		var words []string
		for _, s := range l.Begins(c.from, c.to) {
			words = append(words, s.String())
		}
		if got := strings.Join(words, "; "); got != c.want {
			t.Errorf("%s > %s: %q, want %q", c.from, c.to, got, c.want)
		}
	}
	for groups, want := range map[string]string{"": "", "none": "", "web": "web", "a,db,web,z": "db,web", "other": ""} {
		if got := l.Class(groups); got != want {
			t.Errorf("class of %q is %q, want %q", groups, got, want)
		}
	}
}

// What a list allows is what some rule of it allows, port by port.
func TestBeginsIsWhatRulesSay(t *testing.T) {
	groups := []string{"*", "a", "b", "c"}
	rapid.Check(t, func(r *rapid.T) {
		var rules []string
		for range rapid.IntRange(1, 6).Draw(r, "rules") {
			text := rapid.SampledFrom(groups).Draw(r, "from") + ">" + rapid.SampledFrom(groups).Draw(r, "to")
			ports := rapid.SampledFrom([]string{"", ":3", ":2-5", ":6-9"}).Draw(r, "ports")
			protos := []string{"", "/tcp", "/udp"}
			if ports == "" {
				protos = append(protos, "/icmp")
			}
			rules = append(rules, text+ports+rapid.SampledFrom(protos).Draw(r, "proto"))
		}
		l, err := icc.Parse(strings.Join(rules, ","))
		if err != nil {
			r.Fatal(err)
		}
		from, to := rapid.SampledFrom([]string{"", "a", "b", "a,c"}).Draw(r, "sender"), rapid.SampledFrom([]string{"", "a", "b", "b,c"}).Draw(r, "receiver")
		spans := l.Begins(from, to)
		has := func(s icc.Span, p model.Proto, port uint16) bool {
			return (s.Proto == 0 || s.Proto == p) && (s.First == 0 || p != icc.ICMP && s.First <= port && port <= s.Last)
		}
		in := func(side, class string) bool {
			return side == "*" || slices.Contains(strings.Split(class, ","), side)
		}
		for _, p := range []model.Proto{model.TCP, model.UDP, model.SCTP, icc.ICMP, 47} {
			for port := range uint16(11) {
				want := slices.ContainsFunc(l, func(rule icc.Rule) bool {
					hasPorts := p == model.TCP || p == model.UDP || p == model.SCTP
					return in(rule.From, from) && in(rule.To, to) && (rule.First == 0 || hasPorts) && has(rule.Span, p, port)
				})
				if got := slices.ContainsFunc(spans, func(s icc.Span) bool { return has(s, p, port) }); got != want {
					r.Errorf("%s: %q to %q, protocol %d port %d: %t by %v", l, from, to, p, port, got, spans)
				}
			}
		}
	})
}

// FuzzParse: what is read is written so that it is read as the same, and means what it meant.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"web>db:5432", "*>dns:53/udp, a>b", "a>b:1-9/sctp,a>*/icmp", "none", ">", "a>b:9-8", "web,db"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if groups, err := icc.ParseGroups(text); err == nil {
			if again, err := icc.ParseGroups(groups); err != nil || again != groups {
				t.Errorf("groups %q, again %q, %v", groups, again, err)
			}
		}
		l, err := icc.Parse(text)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("control characters: %q", err)
			}
			return
		}
		again, err := icc.Parse(l.String())
		if err != nil || !slices.Equal(l, again) {
			t.Errorf("%q is read as %q: %v", l, again, err)
		}
		for _, from := range l.Classes() {
			for _, to := range l.Classes() {
				for i, s := range l.Begins(from, to) {
					if s.First > s.Last || i > 0 && s == (icc.Span{}) {
						t.Errorf("%q: %q to %q: %+v", l, from, to, s)
					}
				}
			}
		}
	})
}
