package jsonwalk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"testing"
)

var texts = []string{
	`{}`, `[]`, `null`, ` "a" `, `-1.5e+3`, `{"a":{"b":[1,2,{"c":null}]},"d":"\"}\\"}`, "[\n1 ,\t2\r]", `{"\u0061":true,"ä":false}`, "\"\xff\"",
	`[[],{},[{}]]`, `{"a":"b:c,d]e}f"}`, `0`, `[1]`, `"\ud800"`,
}

// FuzzNext: of every text that encoding/json takes, the tokens are those of its decoder, and
// of others it comes to an end.
func FuzzNext(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"a`))
	f.Add([]byte(`\"`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var have []any
		length := 0
		w := New(text)
		for token := w.Next(); token != nil; token = w.Next() {
			have = append(have, meaning(token))
			if length += len(token); len(token) == 0 || length > len(text) {
				t.Fatalf("%q: %d bytes of tokens, the last is %q", text, length, token)
			}
		}
		if !json.Valid(text) {
			return
		}
		var want []any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			want = append(want, token)
		}
		if !reflect.DeepEqual(have, want) {
			t.Errorf("%q is %q, want %q", text, have, want)
		}
	})
}

// meaning is a token as encoding/json has it.
func meaning(token []byte) any {
	switch token[0] {
	case '{', '}', '[', ']':
		return json.Delim(token[0])
	case '"':
		said, _ := Text(token)
		return string(said)
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	}
	return json.Number(token)
}

// FuzzRest: the values of an array are those that encoding/json has.
func FuzzRest(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"a":[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := New(text)
		first := w.Next()
		var have []json.RawMessage
		for token := w.Next(); token != nil && token[0] != ']'; token = w.Next() {
			have = append(have, w.Rest(token))
			if len(have) > len(text) {
				t.Fatalf("%q has no end", text)
			}
		}
		var want []json.RawMessage
		if json.Unmarshal(text, &want) != nil || len(first) == 0 || first[0] != '[' {
			return
		}
		if len(have) != len(want) {
			t.Fatalf("%q has %q, want %q", text, have, want)
		}
		for i := range want {
			if !bytes.Equal(have[i], want[i]) {
				t.Errorf("%q has %q, want %q", text, have[i], want[i])
			}
		}
	})
}

// What has no escapes is not copied.
func TestTextOfPlainString(t *testing.T) {
	token := []byte(`"HostPort"`)
	if n := testing.AllocsPerRun(100, func() {
		if said, plain := Text(token); !plain || string(said) != "HostPort" {
			t.Errorf("%q, %v", said, plain)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
