package plugin

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// slowClient takes nothing of an answer until it is let.
type slowClient struct {
	*httptest.ResponseRecorder
	let <-chan struct{}
}

func (c slowClient) Write(p []byte) (int, error) {
	<-c.let
	return c.ResponseRecorder.Write(p)
}

// The records are read as fast as they can be, whatever the client does.
func TestBackupDoesNotWaitForItsClient(t *testing.T) {
	let, read := make(chan struct{}), make(chan struct{})
	a := &admin{backup: func(w io.Writer) error {
		defer close(read)
		_, err := w.Write(bytes.Repeat([]byte("records "), 100_000))
		return err
	}}
	c := slowClient{httptest.NewRecorder(), let}
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.handler().ServeHTTP(c, httptest.NewRequest(http.MethodGet, "/v1/backup", nil))
	}()
	select {
	case <-read:
	case <-time.After(5 * time.Second):
		t.Error("the records are read at the client's pace")
	}
	close(let)
	<-done
	if c.Code != http.StatusOK || c.Body.Len() != 800_000 {
		t.Errorf("have %d, %d bytes", c.Code, c.Body.Len())
	}
}

// A backup that fails says why.
func TestBackupThatFails(t *testing.T) {
	a := &admin{backup: func(w io.Writer) error {
		_, _ = w.Write([]byte("half"))
		return errors.New("the disk is tired")
	}}
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/backup", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "the disk is tired") || strings.Contains(w.Body.String(), "half") {
		t.Errorf("have %d %q", w.Code, w.Body)
	}
}
