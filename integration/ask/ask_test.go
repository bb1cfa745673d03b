package ask

import (
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"testing"
)

// An answer, a refusal and no answer are told apart.
func TestCall(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.Path+" "+string(body))
		switch r.URL.Path {
		case "/Refused":
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, `{"Err":"no such network"}`)
		case "/Text":
			io.WriteString(w, "hello")
		default:
			io.WriteString(w, `{"PoolID":"p1"}`)
		}
	})}
	go server.Serve(l)
	defer server.Close()
	for _, kept := range []int{0, 2} {
		asked = nil
		m := New(socket, kept)
		var answer struct{ PoolID string }
		if err := m.Call(t.Context(), "Pool", map[string]int{"N": 1}, &answer); err != nil || answer.PoolID != "p1" {
			t.Errorf("%+v, %v", answer, err)
		}
		if err := m.Call(t.Context(), "Pool", nil, nil); err != nil {
			t.Error(err)
		}
		for method, want := range map[string]string{"Refused": "Refused: no such network", "Text": `Text: status 200: "hello"`} {
			var refused *Refused
			if err := m.Call(t.Context(), method, nil, nil); !errors.As(err, &refused) || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		if want := []string{`POST /Pool {"N":1}`, "POST /Pool "}; !reflect.DeepEqual(asked[:2], want) {
			t.Errorf("asked %q, want %q", asked[:2], want)
		}
		m.Close()
	}
	server.Close()
	var refused *Refused
	if err := New(socket, 0).Call(t.Context(), "Pool", nil, nil); err == nil || errors.As(err, &refused) {
		t.Errorf("nobody listens: %v", err)
	}
}
