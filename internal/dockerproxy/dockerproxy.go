// Package dockerproxy passes Docker's API through, and puts the ports that mybr has
// published into the answers that list containers or inspect one. The engine leaves them
// out: it takes no ports from what a network plugin tells it.
//
// Of these answers only the bytes of Ports and of NetworkSettings.Ports are replaced; all
// other bytes, and all other answers, stay as the engine sent them. The ports are those
// that the engine would show if its own bridge driver had published them: exposed ports
// that are not published are among them, and the order is the engine's.
//
// Be aware: who may use the socket may do all that Docker allows, which is to be root.
// Nothing is checked here, only passed on. Nothing of it is needed for the networks to
// work. While mybr can't be asked, what it said last is shown; where that is nothing, answers
// stay as the engine sent them.
package dockerproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"time"
)

// Binding is one published port or range of ports.
type Binding struct {
	Proto     string         // such as "tcp"
	Host      netip.AddrPort // the first port; zero: reached at the container's own address (routed networks)
	Container netip.AddrPort // the first port
	Count     uint16         // of consecutive ports
}

// Config is what a Proxy needs.
type Config struct {
	// Docker is the path of the engine's socket.
	Docker string
	// Published asks mybr for the endpoints that can publish ports, by their IDs: all
	// that are on a network with a way out, those without ports too.
	Published func(ctx context.Context) (map[string]Endpoint, error)
	Info      func(format string, args ...any)
	Warn      func(format string, args ...any)
}

// Proxy is the handler of all requests.
type Proxy struct {
	Config
	reverse *httputil.ReverseProxy
	engine  *http.Client // for questions of the proxy's own
	specs   *specs
	told    *told
}

// New makes a proxy.
func New(c Config) *Proxy { return newProxy(c, defaultLimits()) }

func newProxy(c Config, l limits) *Proxy {
	p := &Proxy{Config: c, specs: newSpecs(l), told: newTold(l)}
	// Each request has a connection of its own: one that was idle when the engine ended
	// would break the next request, which the client could not tell from an answer.
	transport := &http.Transport{
		DialContext:           p.dial,
		DisableKeepAlives:     true,
		DisableCompression:    true, // bodies are passed on as they are
		ExpectContinueTimeout: time.Second,
	}
	p.engine = &http.Client{Transport: transport}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      transport,
		FlushInterval:  -1, // what the engine sends is sent on at once
		ModifyResponse: p.modify,
		ErrorHandler:   p.failed,
		ErrorLog:       stdlog.New(warnings{p.Warn}, "", 0),
	}
	return p
}

// ServeHTTP passes one request on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The engine may begin to answer before it has read everything (docker load, build).
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 is so by itself
	if becomesStream(r) {
		p.tunnel(w, r)
		return
	}
	p.reverse.ServeHTTP(w, filtered(r))
}

// rewrite leads a request to the engine, and leaves it as the client has sent it.
func rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = "docker" // what is dialled is the socket
	// What httputil takes away or copies: queries that it can't read, the client's word on
	// proxies, and trailers, which are there when the body has been read.
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	r.Out.Trailer = r.In.Trailer
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
}

func (p *Proxy) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.Docker)
	if err != nil {
		return nil, &unreachable{p.Docker, err}
	}
	return conn, nil
}

// unreachable is the error of an engine that can't be connected to.
type unreachable struct {
	socket string
	cause  error
}

func (e *unreachable) Error() string {
	return fmt.Sprintf("mybr docker-proxy: no Docker daemon answers at unix://%s: %v", e.socket, e.cause)
}

func (e *unreachable) Unwrap() error { return e.cause }

// failed answers a request that the engine did not answer, in the form of its errors.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has gone, or the proxy ends
	}
	status := http.StatusBadGateway
	var away *unreachable
	var list *unfiltered
	switch {
	case errors.As(err, &away):
		status = http.StatusServiceUnavailable
		err = away
	case errors.As(err, &list):
		err = list
	default:
		err = fmt.Errorf("mybr docker-proxy: the Docker daemon broke off: %w", err)
	}
	text, errText := json.Marshal(map[string]string{"message": err.Error()})
	if errText != nil {
		panic(errText) // strings always encode
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that is gone reads nothing
}

// warnings makes log lines of what net/http says.
type warnings struct {
	warn func(format string, args ...any)
}

func (w warnings) Write(text []byte) (int, error) {
	w.warn("%s", text)
	return len(text), nil
}
