package web

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]struct {
		as    string
		local bool
	}{
		"127.0.0.1:9180":             {"127.0.0.1:9180", true},
		"127.8.8.8:1":                {"127.8.8.8:1", true},
		"[::1]:9180":                 {"[::1]:9180", true},
		"[::ffff:127.0.0.1]:9180":    {"127.0.0.1:9180", true},
		"unix:///run/mybr/http.sock": {"unix:///run/mybr/http.sock", true},
		"0.0.0.0:9180":               {"0.0.0.0:9180", false},
		"[::]:9180":                  {"[::]:9180", false},
		"192.0.2.2:65535":            {"192.0.2.2:65535", false},
		"[fe80::1%eth0]:80":          {"[fe80::1%eth0]:80", false},
		"":                           {},
		":9180":                      {},
		"9180":                       {},
		"127.0.0.1":                  {},
		"127.0.0.1:0":                {},
		"127.0.0.1:65536":            {},
		"localhost:9180":             {},
		"http://127.0.0.1:9180":      {},
		"unix://run/mybr.sock":       {},
		"unix:/run/mybr.sock":        {},
		"unix:///" + strings.Repeat("x", LongestPath): {},
	} {
		a, err := ParseAddress(text)
		if (err != nil) != (want.as == "") || a.String() != want.as || err == nil && a.Local() != want.local {
			t.Errorf("%q: %q (local: %v), %v; want %q, %v", text, a, a.Local(), err, want.as, want.local)
		}
		if a.IsZero() != (err != nil) {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
}

const secret = "a4e1-77b2-90ff-c3d5"

func TestReadToken(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got, err := ReadToken(file("good", "  "+secret+"\n", 0o600)); err != nil || !got.Wanted() {
		t.Errorf("%v", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		pipe:                                    "is not a file",
		filepath.Join(dir, "none"):              "no such file",
		dir:                                     "is not a file",
		file("open", secret, 0o640):             "can be used by others (mode 0640)",
		file("empty", "\n", 0o600):              "has 0 bytes",
		file("short", "123456789012345", 0o600): "has 15 bytes",
		file("long", strings.Repeat("x", 2000), 0o600):    "has more than 1024 bytes",
		file("blank", "two words make no token", 0o400):   "has blanks",
		file("binary", "0123456789abcdef\x00\xff", 0o600): "has blanks or other bytes",
	} {
		got, err := ReadToken(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || got.Wanted() {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestGuard(t *testing.T) {
	tcp, socket := Address{TCP: mustAddress(t, "127.0.0.1:9180").TCP}, Address{Path: "/run/mybr/http.sock"}
	token, err := NewToken(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at     Address
		token  Token
		method string
		host   string
		auth   string
		want   int
	}{
		"an address":               {tcp, Token{}, "GET", "127.0.0.1:9180", "", 200},
		"one without a port":       {tcp, Token{}, "GET", "127.0.0.1", "", 200},
		"of IPv6":                  {tcp, Token{}, "GET", "[::1]:9180", "", 200},
		"of IPv6, without a port":  {tcp, Token{}, "HEAD", "[::1]", "", 200},
		"localhost":                {tcp, Token{}, "GET", "LocalHost:9180", "", 200},
		"a name":                   {tcp, Token{}, "GET", "rebound.example:9180", "", 421},
		"a name like localhost":    {tcp, Token{}, "GET", "localhost.example", "", 421},
		"an address like a name":   {tcp, Token{}, "GET", "127.0.0.1.example:9180", "", 421},
		"no name":                  {tcp, Token{}, "GET", "", "", 421},
		"a name at a socket":       {socket, Token{}, "GET", "mybr", "", 200},
		"a change":                 {tcp, Token{}, "POST", "127.0.0.1:9180", "", 405},
		"a question about methods": {tcp, Token{}, "OPTIONS", "127.0.0.1:9180", "", 405},
		"no token":                 {tcp, token, "GET", "127.0.0.1:9180", "", 401},
		"the token":                {tcp, token, "GET", "host.example:9180", "Bearer " + secret, 200},
		"the token in capitals":    {tcp, token, "GET", "127.0.0.1:9180", "BEARER " + secret, 200},
		"another token":            {tcp, token, "GET", "127.0.0.1:9180", "Bearer " + secret + "0", 401},
		"a part of the token":      {tcp, token, "GET", "127.0.0.1:9180", "Bearer " + secret[:10], 401},
		"an empty token":           {tcp, token, "GET", "127.0.0.1:9180", "Bearer ", 401},
		"another scheme":           {tcp, token, "GET", "127.0.0.1:9180", "Digest " + secret, 401},
		"the token at a socket":    {socket, token, "GET", "mybr", "", 401},
	} {
		r := httptest.NewRequest(c.method, "http://host/", nil)
		r.Host = c.host
		if c.auth != "" {
			r.Header.Set("Authorization", c.auth)
		}
		if got := answer(t, c.at, c.token, r); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for password, want := range map[string]int{secret: 200, "": 401, "guess": 401} {
		r := httptest.NewRequest("GET", "http://host/", nil)
		r.SetBasicAuth("anybody", password)
		if got := answer(t, tcp, token, r); got != want {
			t.Errorf("password %q: %d, want %d", password, got, want)
		}
	}
}

func mustAddress(t *testing.T, s string) Address {
	t.Helper()
	a, err := ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// answer has a request guarded, expects the headers that every answer has, and returns its
// status.
func answer(t *testing.T, at Address, token Token, r *http.Request) int {
	t.Helper()
	w, asked := httptest.NewRecorder(), false
	Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }), at, token, "default-src 'none'").ServeHTTP(w, r)
	if asked != (w.Code == 200) {
		t.Errorf("%d, and the handler was asked: %v", w.Code, asked)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%d has %s: %q, want %q", w.Code, name, got, want)
		}
	}
	if w.Code == 401 && !strings.Contains(strings.Join(w.Header().Values("WWW-Authenticate"), " "), "Basic") {
		t.Error("no browser would ask for the token")
	}
	return w.Code
}
