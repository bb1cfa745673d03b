package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/doctor"
	"github.com/mybr/mybr/internal/firewalld"
)

// What the checks ask of processes has an end. Comparing the host with the records waits for
// the pass that is under way.
const (
	processWithin = 10 * time.Second
	socketWithin  = 3 * time.Second
)

// Doctor is how the checks of package doctor reach the host that the caller is on, and the mybr
// that is asked. The caller adds what is its own: Name, PluginDir, StateDir, Version and Docker.
func (c Client) Doctor() doctor.Env {
	return doctor.Env{
		Sysctls: "/proc/sys", RunDir: c.RunDir,
		Now: time.Now, Run: doctor.Exec, Process: c.process, View: c.View, Lock: lockOwner, Plugin: implements, Zones: zones,
	}
}

// process asks the running mybr for all that the checks want to know of it.
func (c Client) process(ctx context.Context) (p doctor.Process, err error) {
	ctx, cancel := context.WithTimeout(ctx, processWithin)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		return p, err
	}
	p = doctor.Process{
		Version: s.Version, PID: s.PID, Ready: s.Ready, Firewall: s.Firewall, LastError: s.LastError,
		Unknown: s.Unknown, Unwatched: s.NoticedLate, Unheard: s.Unheard, Unchecked: s.Unchecked, UncheckedAsked: s.UncheckedAsked,
	}
	if !s.FailedSince.IsZero() {
		p.FailedFor = time.Since(s.FailedSince)
	}
	for aspect, h := range s.Healed {
		p.Healed = append(p.Healed, doctor.Healing{Aspect: Printable(aspect), Times: h.Times, Last: h.Last, By: h.By, Fights: h.Fights})
	}
	slices.SortFunc(p.Healed, func(a, b doctor.Healing) int { return strings.Compare(a.Aspect, b.Aspect) })
	if s.Differences == 0 {
		return p, nil
	}
	list, err := c.Diff(ctx)
	for _, d := range list {
		p.Differences = append(p.Differences, d.Changes...)
	}
	return p, err
}

// lockOwner asks the kernel who listens on the lock: what /proc says can be made to look so by
// other users.
func lockOwner(ctx context.Context) (h doctor.Holder, err error) {
	ctx, cancel := context.WithTimeout(ctx, socketWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", lockName)
	if errors.Is(err, unix.ECONNREFUSED) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("ask who holds the lock of this network namespace: %w", err)
	}
	defer conn.Close()
	cred, err := peer(conn.(*net.UnixConn))
	if err != nil {
		return h, fmt.Errorf("ask who holds the lock of this network namespace: %w", err)
	}
	return doctor.Holder{Held: true, PID: int(cred.Pid), Root: cred.Uid == 0}, nil
}

// implements asks what a plugin's socket has for Docker.
func implements(ctx context.Context, socket string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, socketWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://mybr/Plugin.Activate", nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, errors.Unwrap(err) // without the made-up URL
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", Printable(resp.Status))
	}
	var body struct{ Implements []string }
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxSocketAnswer)).Decode(&body); err != nil {
		return nil, fmt.Errorf("its answer can't be read: %w", err)
	}
	return body.Implements, nil
}

// maxSocketAnswer is more than a plugin says of itself.
const maxSocketAnswer = 64 << 10

// zones asks firewalld.
func zones(ctx context.Context, links []string) (doctor.Zones, error) {
	ctx, cancel := context.WithTimeout(ctx, socketWithin)
	defer cancel()
	of, running, err := new(firewalld.Applier).Zones(ctx, links)
	return doctor.Zones{Running: running, Of: of}, err
}
