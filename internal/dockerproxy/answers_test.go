package dockerproxy

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Answers as engines give them, with what must stay as it is: spaces, the order of fields,
// numbers that float64 can't hold, escapes, fields that nobody knows.
const (
	aList = `[ {"Id":"c1","Names":["/web"],"Odd":12345678901234567890.10,"Text":"\u003c\u00e9\ud83d\ude00","Ports":[],"x":{"Ports":[1]},` +
		`"NetworkSettings":{"Networks":{"n":{"EndpointID":"e1","Ports":0}}}},` + "\n " +
		`{"Id":"c2","Ports":[{"IP":"0.0.0.0","PrivatePort":9,"PublicPort":9,"Type":"tcp"}],"NetworkSettings":{"Networks":{"b":{"EndpointID":"other"}}}},` +
		`{"NetworkSettings":{"Networks":{"n":{"EndpointID":""},"host":null}},"Ports":null,"Id":"c3"},` +
		`{"NetworkSettings":{"Networks":{"n":{"EndpointID":"e2"}}},"Ports":null,"Id":"c4"}]` + "\n"
	aListWant = `[ {"Id":"c1","Names":["/web"],"Odd":12345678901234567890.10,"Text":"\u003c\u00e9\ud83d\ude00","Ports":` +
		`[{"PrivatePort":53,"Type":"udp"},{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}]` +
		`,"x":{"Ports":[1]},` +
		`"NetworkSettings":{"Networks":{"n":{"EndpointID":"e1","Ports":0}}}},` + "\n " +
		`{"Id":"c2","Ports":[{"IP":"0.0.0.0","PrivatePort":9,"PublicPort":9,"Type":"tcp"}],"NetworkSettings":{"Networks":{"b":{"EndpointID":"other"}}}},` +
		`{"NetworkSettings":{"Networks":{"n":{"EndpointID":""},"host":null}},"Ports":null,"Id":"c3"},` +
		`{"NetworkSettings":{"Networks":{"n":{"EndpointID":"e2"}}},"Ports":[{"PrivatePort":53,"Type":"udp"},{"PrivatePort":80,"Type":"tcp"}],"Id":"c4"}]` + "\n"
	anInspect = "{\n" + ` "Id":"c1", "Odd":1e400,"Ports":{"a":1},"Config":{"ExposedPorts":{"80/tcp":{},"53/udp":{}}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}},` +
		`"NetworkSettings":{"Bridge":"","Ports":{},"Networks":{"n":{"EndpointID":"e1"}}}, "Last" : [ ] }` + "\n"
)

var (
	anInspectWant = strings.Replace(anInspect, `"Bridge":"","Ports":{}`,
		`"Bridge":"","Ports":{"53/udp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]}`, 1)
	someEndpoints = map[string]Endpoint{
		"e1": ports(tcp("0.0.0.0:8080", "172.18.0.2:80", 1), tcp("[::]:8080", "172.18.0.2:80", 1)),
		"e2": {},
	}
)

// engine answers paths with texts, as JSON, and any inspection with anInspect. Answers are
// in chunks, as long ones of the engine are.
func engine(answers map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.URL.Path]
		if !ok && inspectPath.MatchString(r.URL.Path) {
			text, ok = anInspect, true
		}
		w.Header().Set("Server", "Docker/28.5.2 (linux)")
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			text = `{"message":"page not found", "Ports":[] }`
		}
		half := len(text) / 2
		fmt.Fprint(w, text[:half])
		_ = http.NewResponseController(w).Flush()
		fmt.Fprint(w, text[half:])
	})
}

func (f *fake) get(path string) string {
	f.t.Helper()
	resp, err := f.client().Get("http://docker" + path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(body)
}

// Only the values of Ports change, in every version of the API, and nothing else does.
func TestAnswers(t *testing.T) {
	usage := `{"LayersSize":1.0,"Containers":` + strings.TrimSpace(aList) + `,"Images":null}`
	newer := `{"ImageUsage":{},"ContainerUsage":{"Items":` + strings.TrimSpace(aList) + `},"Containers":null}`
	odd := `{"Containers":7}`
	f := newFake(t, engine(map[string]string{
		"/containers/json": aList, "/v1.41/containers/json": aList, "/v9.99/containers/json": aList,
		"/system/df": usage, "/v1.52/system/df": newer,
		"/volumes": aList, "/containers/json/x": aList, "/x/containers/json": aList, "/v1.41/v1.41/containers/json": aList,
		"/v1.40/system/df": odd, "/exec/containers/json": anInspect, "/images/c1/json": anInspect,
	}))
	f.set(someEndpoints)
	for path, want := range map[string]string{
		"/containers/json":       aListWant,
		"/v1.41/containers/json": aListWant,
		"/v9.99/containers/json": aListWant,
		"/system/df":             strings.Replace(usage, strings.TrimSpace(aList), strings.TrimSpace(aListWant), 1),
		"/v1.52/system/df":       strings.Replace(newer, strings.TrimSpace(aList), strings.TrimSpace(aListWant), 1),

		"/containers/c1/json":            anInspectWant,
		"/v1.24/containers/c1/json":      anInspectWant,
		"/containers/link/alias/json":    anInspectWant, // a name of the legacy links
		"/v1.41/containers/c1/json?size": anInspectWant,

		"/volumes": aList, "/containers/json/x": aList, "/x/containers/json": aList,
		"/v1.41/v1.41/containers/json": aList, "/v1.40/system/df": odd, "/exec/containers/json": anInspect, "/images/c1/json": anInspect,
		"/nothing": `{"message":"page not found", "Ports":[] }`,
	} {
		if have := f.get(path); have != want {
			t.Errorf("%s:\nhave %s\nwant %s", path, have, want)
		}
	}
	if l := f.logged(); len(l) > 0 {
		t.Errorf("logged: %q", l)
	}
}

// A library that asks for an upgrade with each request gets the ports too.
func TestNeedlessUpgrade(t *testing.T) {
	f := newFake(t, engine(map[string]string{"/containers/json": aList}))
	f.set(someEndpoints)
	for _, upgrade := range []string{"TLS/1.2", "h2c"} {
		for path, want := range map[string]string{"/containers/json": aListWant, "/v1.41/containers/c1/json": anInspectWant} {
			req, err := http.NewRequest(http.MethodGet, "http://docker"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"Upgrade": {upgrade}, "Connection": {"Upgrade"}}
			resp, err := f.client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			have, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(have) != want {
				t.Errorf("%s, %s: %v, have %s", upgrade, path, err, have)
			}
		}
	}
}

// While mybr can't be asked, answers show what it said last, or are as the engine sent them,
// and the log says so once.
func TestWithoutMybr(t *testing.T) {
	f := newFake(t, engine(map[string]string{"/containers/json": aList}))
	list, one := aList, anInspect
	for range 2 {
		f.set(nil)
		for range 3 {
			if have := f.get("/containers/json"); have != list {
				t.Errorf("have %s", have)
			}
			if have := f.get("/containers/c1/json"); have != one {
				t.Errorf("have %s", have)
			}
		}
		f.set(someEndpoints)
		list, one = f.get("/containers/json"), f.get("/containers/c1/json")
		if list != aListWant || one == anInspect {
			t.Errorf("have %s and %s", list, one)
		}
	}
	want := []string{
		"published ports are not shown until mybr can be asked: mybr is not running", "published ports are shown again",
		"published ports are shown as mybr told them last until mybr can be asked: mybr is not running", "published ports are shown again",
	}
	if have := f.logged(); fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("logged %q", have)
	}
}

// What can't be changed is passed on as it is.
func TestUnreadableAnswers(t *testing.T) {
	answers := map[string]string{
		"/containers/json":        `[{"Id":"c1","NetworkSettings":{"Networks":{"n":{"EndpointID":"e1"}}},"Ports":"many"}]`,
		"/v1.1/containers/json":   `[{"Id":"c1","NetworkSettings":{"Networks":{"n":{"EndpointID":"e1"}}},"Ports":[]},`,
		"/v1.2/containers/json":   `{"message":"not a list"}`,
		"/v1.3/containers/json":   ``,
		"/v1.4/containers/c/json": `{"NetworkSettings":{"Networks":{"n":{"EndpointID":"e1"}},"Ports":[]}}`,
	}
	f := newFake(t, engine(answers))
	f.set(someEndpoints)
	for path, want := range answers {
		if have := f.get(path); have != want {
			t.Errorf("%s: have %s", path, have)
		}
	}
	if l := f.logged(); len(l) != len(answers) {
		t.Errorf("logged: %q", l)
	}
}

// An engine that breaks off in an answer is not taken for one that has ended it.
func TestBrokenAnswer(t *testing.T) {
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, aList[:60])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	f.set(someEndpoints)
	resp, err := f.client().Get("http://docker/containers/json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil || string(body) != aList[:60] {
		t.Errorf("have %q, %v", body, err)
	}
}

// What is packed is unpacked, changed and packed again; what no proxy knows stays.
func TestPackedAnswers(t *testing.T) {
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Encoding", r.Header.Get("Accept-Encoding"))
		switch {
		case r.URL.Path != "/containers/json":
			fmt.Fprint(w, anInspect)
		case r.Header.Get("Accept-Encoding") != "gzip":
			fmt.Fprint(w, "packed somehow")
		default:
			z := gzip.NewWriter(w)
			fmt.Fprint(z, aList)
			z.Close()
		}
	}))
	f.set(map[string]Endpoint{"e1": someEndpoints["e1"]})
	get := func(packing string) (string, *http.Response) {
		req, err := http.NewRequest(http.MethodGet, "http://docker/containers/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", packing)
		resp, err := f.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body), resp
	}
	body, resp := get("gzip")
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	text, err := io.ReadAll(z)
	if err != nil || !strings.Contains(string(text), `"PublicPort":8080`) || resp.Header.Get("Content-Encoding") != "gzip" || resp.ContentLength != int64(len(body)) {
		t.Errorf("%s, %v, %v", text, err, resp.Header)
	}
	if body, _ := get("br"); body != "packed somehow" {
		t.Errorf("have %q", body)
	}
	if l := f.logged(); len(l) != 1 || !strings.Contains(l[0], `Content-Encoding is "br"`) {
		t.Errorf("logged %q", l)
	}
}

// Containers that mybr has nothing to do with cost it no question, and those that it has
// cost the engine one.
func TestQuestions(t *testing.T) {
	var inspections atomic.Int64
	plain := engine(map[string]string{"/containers/json": aList, "/v1.9/containers/json": `[{"Id":"c3","Ports":[],"NetworkSettings":{"Networks":{"n":{"EndpointID":""}}}}]`})
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/containers/c1/json" || r.URL.Path == "/containers/c4/json" {
			inspections.Add(1)
		}
		plain.ServeHTTP(w, r)
	}))
	f.set(someEndpoints)
	f.get("/v1.9/containers/json")
	if asked := f.questions(); asked != 0 {
		t.Errorf("mybr was asked %d times", asked)
	}
	for range 3 {
		f.get("/containers/json")
	}
	if asked := f.questions(); asked != 3 || inspections.Load() != 2 {
		t.Errorf("mybr was asked %d times, the engine %d", asked, inspections.Load())
	}
}

// A container that hangs, whose inspection does not end, keeps the list for once alone.
func TestInspectionHangs(t *testing.T) {
	plain := engine(map[string]string{"/containers/json": aList})
	var inspections atomic.Int64
	var well atomic.Bool
	f := newFakeWithin(t, limits{within: 300 * time.Millisecond, pause: time.Hour}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/containers/c4/json" {
			inspections.Add(1)
			if !well.Load() {
				<-r.Context().Done() // ends when the proxy has given up, or the test
				return
			}
		}
		plain.ServeHTTP(w, r)
	}))
	f.set(someEndpoints)
	for range 5 {
		if have := f.get("/containers/json"); !strings.Contains(have, `"PublicPort":8080`) || !strings.Contains(have, `"Id":"c4"`) || have == aListWant {
			t.Errorf("have %s", have)
		}
	}
	if n := inspections.Load(); n != 1 {
		t.Errorf("the engine was asked %d times", n)
	}
	if l := f.logged(); len(l) != 1 || !strings.Contains(l[0], "the engine has not said within 300ms what 1 containers expose") {
		t.Errorf("logged %q", l)
	}
	// When it has had its pause, the engine is asked again, and nobody waits.
	f.handler.specs.mu.Lock()
	for id := range f.handler.specs.late {
		f.handler.specs.late[id] = time.Now()
	}
	f.handler.specs.mu.Unlock()
	well.Store(true)
	f.eventually(func() error {
		if have := f.get("/containers/json"); have != aListWant {
			return fmt.Errorf("have %s", have)
		}
		return nil
	})
	if n := inspections.Load(); n != 2 {
		t.Errorf("the engine was asked %d times", n)
	}
}

// API 1.20 says of no networks; the newest that the engine has does.
func TestOldInspection(t *testing.T) {
	old := `{"Id":"c1","NetworkSettings":{"EndpointID":"","Ports":{}}}`
	f := newFake(t, engine(map[string]string{"/v1.20/containers/web/json": old}))
	f.set(someEndpoints)
	want := `{"Id":"c1","NetworkSettings":{"EndpointID":"","Ports":{"53/udp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]}}}`
	if have := f.get("/v1.20/containers/web/json"); have != want {
		t.Errorf("have %s", have)
	}
}

// docker ps --filter publish= and expose= are about the ports that are shown.
func TestFilters(t *testing.T) {
	questions := make(chan url.Values, 1)
	plain := engine(map[string]string{"/containers/json": aList})
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/containers/json" {
			questions <- r.URL.Query()
		}
		plain.ServeHTTP(w, r)
	}))
	f.set(someEndpoints)
	for _, c := range []struct {
		query, filters, limit, all string // what the engine is asked
		ids                        string
	}{
		{`filters={"publish":{"8080":true}}`, `{}`, "", "", "c1"},
		{`filters={"publish":{"8080/tcp":true,"9":true}}`, `{}`, "", "", "c1 c2"},
		{`filters={"publish":["8080/udp"]}`, `{}`, "", "", ""},
		{`filters={"expose":["50-60/udp"]}`, `{}`, "", "", "c1 c4"},
		{`filters={"expose":{"80":true},"name":{"web":true}}`, `{"name":{"web":true}}`, "", "", "c1 c4"},
		{`filters={"expose":{"80":true}}&limit=1`, `{}`, "", "1", "c1"},
		{`filters={"expose":{"80":true}}&limit=0`, `{}`, "0", "", "c1 c4"},
		{`filters={"publish":{"9":true},"expose":{"53/udp":true}}&limit=2&all=0`, `{}`, "", "1", "c1 c2"},
		// The engine refuses these, or they are not about ports.
		{`filters={"publish":{"x":true}}`, `{"publish":{"x":true}}`, "", "", "c1 c2 c3 c4"},
		{`filters={"publish":{"9-8":true}}`, `{"publish":{"9-8":true}}`, "", "", "c1 c2 c3 c4"},
		{`filters={"publish":{"1:2":true}}`, `{"publish":{"1:2":true}}`, "", "", "c1 c2 c3 c4"},
		{`filters={"publish":7}`, `{"publish":7}`, "", "", "c1 c2 c3 c4"},
		{`filters={"expose":{"80":true}}&limit=x`, `{"expose":{"80":true}}`, "x", "", "c1 c2 c3 c4"},
		{`filters={"name":{"web":true}}&limit=1`, `{"name":{"web":true}}`, "1", "", "c1 c2 c3 c4"},
		{`limit=1`, ``, "1", "", "c1 c2 c3 c4"},
		{`filters={`, `{`, "", "", "c1 c2 c3 c4"},
	} {
		query, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		have := f.get("/containers/json?" + query.Encode())
		asked := <-questions
		var ids []string
		for _, id := range []string{"c1", "c2", "c3", "c4"} {
			if strings.Contains(have, `"Id":"`+id+`"`) {
				ids = append(ids, id)
			}
		}
		if got := strings.Join(ids, " "); got != c.ids {
			t.Errorf("%s: have %s, want %s", c.query, got, c.ids)
		}
		if asked.Get("filters") != c.filters || asked.Get("limit") != c.limit || asked.Get("all") != c.all {
			t.Errorf("%s: the engine is asked %v", c.query, asked)
		}
	}
}

// A list that can't be read is not given to a client that wants a part of it.
func TestUnfiltered(t *testing.T) {
	for name, c := range map[string]struct{ kind, packing, text, want string }{
		"no list":     {"application/json", "", `{"message":"not a list"}`, "have {, want ["},
		"odd ports":   {"application/json", "", `[{"Id":"c1","Ports":"many"}]`, "cannot unmarshal"},
		"not JSON":    {"text/plain", "", aList, `its Content-Type is "text/plain"`},
		"packed":      {"application/json", "br", aList, `its Content-Encoding is "br"`},
		"cut in gzip": {"application/json", "gzip", "\x1f\x8b", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				w.Header().Set("Content-Encoding", c.packing)
				fmt.Fprint(w, c.text)
			}))
			f.set(someEndpoints)
			resp, err := f.client().Get("http://docker/containers/json?filters=" + url.QueryEscape(`{"publish":{"8080":true}}`))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusBadGateway || !strings.HasPrefix(string(body), `{"message":"mybr docker-proxy: the list of containers can't be filtered by ports: `) {
				t.Errorf("%d %s, %v", resp.StatusCode, body, err)
			}
			var told struct{ Message string }
			if err := json.Unmarshal(body, &told); err != nil || !strings.Contains(told.Message, c.want) {
				t.Errorf("told %q, %v", told.Message, err)
			}
		})
	}
}

// The gzip of nothing but zeros does not fill the memory.
func TestPackedBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("it packs 64 MiB")
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range largestAnswer>>20 + 1 {
		if _, err := z.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	z.Close()
	if _, err := unpack(packed.Bytes()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}
