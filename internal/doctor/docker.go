package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// maxAnswer bounds an answer of Docker's: a network with a thousand containers has some 300 kB.
const maxAnswer = 32 << 20

// Docker gets paths of the API of the Engine that listens on a unix socket, for Env.Docker.
// Without a version in it a path is of the newest version that the Engine knows, and what is
// read here has been the same in all.
func Docker(socket string) func(ctx context.Context, path string) ([]byte, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	return func(ctx context.Context, path string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
		if err != nil {
			return nil, err
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			var made *url.Error // its text has the made-up URL
			if errors.As(err, &made) {
				err = made.Err
			}
			return nil, fmt.Errorf("ask Docker on %s: %w", socket, err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("ask Docker on %s for %s: %s", socket, path, resp.Status)
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		if err == nil && len(body) > maxAnswer {
			err = fmt.Errorf("ask Docker on %s for %s: more than %d bytes", socket, path, maxAnswer)
		}
		return body, err
	}
}
