package dockerproxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
)

// largestAnswer is what is read of an answer to change it, once it is unpacked: a
// container of the list has some 2 KiB, and some 80 bytes for each of its ports. A larger
// one is passed on as it is.
const largestAnswer = 64 << 20

// The answers that show ports; the version before the path is the client's choice.
var (
	listPath    = regexp.MustCompile(`^(/v[0-9.]+)?/containers/json$`)
	inspectPath = regexp.MustCompile(`^(/v[0-9.]+)?/containers/.+/json$`)
	usagePath   = regexp.MustCompile(`^(/v[0-9.]+)?/system/df$`)
)

// edit changes the text of an answer. The text that it was given stays as it is.
type edit func(a *answer, text []byte) ([]byte, error)

// answer is one answer that may be changed.
type answer struct {
	*Proxy
	ctx    context.Context
	sorted bool // the engine sorts the ports of a container
	filter *portFilter
}

func editOf(r *http.Request) edit {
	switch path := r.URL.Path; {
	case r.Method != http.MethodGet:
		return nil
	case listPath.MatchString(path):
		return (*answer).list
	case inspectPath.MatchString(path):
		return (*answer).inspect
	case usagePath.MatchString(path):
		return (*answer).usage
	}
	return nil
}

// modify is called with each answer's header. An answer that can't be changed is passed on
// as it is, save a list that the engine was asked for without the filters of the client:
// who asks for the containers of one port, as to remove them, must not be given all.
func (p *Proxy) modify(resp *http.Response) error {
	change := editOf(resp.Request)
	if change == nil || resp.StatusCode != http.StatusOK {
		return nil
	}
	ctx := resp.Request.Context()
	a := &answer{Proxy: p, ctx: ctx, sorted: sortsPorts(resp.Header.Get("Server")), filter: filterOf(ctx)}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return a.unchanged(fmt.Errorf("its Content-Type is %.40q: want application/json", kind))
	}
	body := resp.Body
	sent, err := io.ReadAll(io.LimitReader(body, largestAnswer+1))
	var changed []byte
	if err == nil {
		var why error
		if changed, why = a.changed(change, sent, resp.Header.Get("Content-Encoding")); why != nil {
			if err := a.unchanged(why); err != nil {
				return err
			}
			p.Warn("answer to %s passed on without ports: %v", resp.Request.URL.Path, why)
		}
	}
	if changed == nil {
		// All of it, and then what the client would have seen without the proxy.
		resp.Body = readCloser{io.MultiReader(bytes.NewReader(sent), failing{err}, body), body}
		return nil
	}
	resp.Body = readCloser{bytes.NewReader(changed), body}
	resp.ContentLength = int64(len(changed))
	resp.TransferEncoding = nil
	resp.Header.Set("Content-Length", strconv.Itoa(len(changed)))
	return nil
}

// unchanged is the error of an answer that can't be changed; nil: it is passed on.
func (a *answer) unchanged(why error) error {
	if a.filter == nil {
		return nil
	}
	return &unfiltered{why}
}

// unfiltered is the error of a list that could not be filtered.
type unfiltered struct{ cause error }

func (e *unfiltered) Error() string {
	return fmt.Sprintf("mybr docker-proxy: the list of containers can't be filtered by ports: %v", e.cause)
}

func (e *unfiltered) Unwrap() error { return e.cause }

type readCloser struct {
	io.Reader
	io.Closer
}

// failing reads nothing, and ends with an error or as an empty text.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// changed is the body of an answer after a change; nil: it stays as it is.
func (a *answer) changed(change edit, sent []byte, packing string) ([]byte, error) {
	if len(sent) > largestAnswer {
		return nil, fmt.Errorf("it has more than %d bytes", largestAnswer)
	}
	switch packing {
	case "", "identity":
		return unlessEqual(change, a, sent)
	case "gzip":
		text, err := unpack(sent)
		if err != nil {
			return nil, err
		}
		text, err = unlessEqual(change, a, text)
		if text == nil || err != nil {
			return nil, err
		}
		return pack(text)
	}
	return nil, fmt.Errorf("its Content-Encoding is %.40q: want gzip or none", packing)
}

func unlessEqual(change edit, a *answer, text []byte) ([]byte, error) {
	out, err := change(a, text)
	if err != nil || bytes.Equal(out, text) {
		return nil, err
	}
	return out, nil
}

func unpack(sent []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, largestAnswer+1))
	if err == nil && len(text) > largestAnswer {
		err = fmt.Errorf("it has more than %d bytes", largestAnswer)
	}
	return text, err
}

func pack(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// sortsPorts reports whether the engine with this Server header, such as
// "Docker/28.5.2 (linux)", sorts the ports of a container before it publishes them: from
// 27.0 on. One that doesn't say so is taken for a newer one.
func sortsPorts(server string) bool {
	var major int
	if n, _ := fmt.Sscanf(server, "Docker/%d.", &major); n != 1 {
		return true
	}
	return major >= 27
}
