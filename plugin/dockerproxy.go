package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/dockerproxy"
	"github.com/mybr/mybr/internal/web"
)

const (
	// dockerSocket is the name of the proxy's socket, as FileDescriptorName of a systemd
	// socket unit.
	dockerSocket = "docker"

	// DockerProxySocket is where the proxy listens, unless told otherwise.
	DockerProxySocket = "/run/mybr-docker-proxy/docker.sock"

	// dockerGroup may use Docker's own socket, where there is such a group (dockerd(8), -G).
	dockerGroup = "docker"

	// proxyDrainWithin is how long what is under way may take when the proxy ends, a command
	// of docker exec too. Other streams, as those of docker logs -f, have no end of their own.
	proxyDrainWithin = 5 * time.Second

	// proxyHeaderWithin is how long a request's header may take to arrive, as in Docker.
	proxyHeaderWithin = 5 * time.Minute
)

// ProxyConfig is how `mybr docker-proxy` is to be.
type ProxyConfig struct {
	Version string
	Listen  string // path of the socket for Docker's clients, where systemd passes none; "": DockerProxySocket
	Docker  string // path of Docker's socket
	Group   string // whose the socket is, beside root, by name or number; "": dockerGroup, if there is one
	RunDir  string // where the admin socket of mybr serve is
	Log     *logrus.Logger
}

// RunDockerProxy passes Docker's API through until ctx ends.
func RunDockerProxy(ctx context.Context, c ProxyConfig) error {
	if listen := cmp.Or(c.Listen, DockerProxySocket); sameFile(listen, c.Docker) {
		return errItself(listen)
	}
	s, err := openProxySocket(ctx, c)
	if err != nil {
		return err
	}
	defer s.Close()
	// systemd's may be elsewhere, and a link may lead to what is there from now on only.
	if sameFile(s.path, c.Docker) {
		s.retire()
		return errItself(s.path)
	}
	c.Log.WithField("version", c.Version).Infof("passing unix://%s on to Docker at unix://%s", s.path, c.Docker)
	proxy := dockerproxy.New(dockerproxy.Config{
		Docker:    c.Docker,
		Published: func(ctx context.Context) (map[string]dockerproxy.Endpoint, error) { return endpoints(ctx, c.RunDir) },
		Info:      c.Log.Infof,
		Warn:      c.Log.Warnf,
	})
	return serveProxy(ctx, c.Log, s, proxy, proxyDrainWithin)
}

// errItself is the error of a proxy that would ask itself, and so again and again.
func errItself(listen string) error {
	return fmt.Errorf("listen on %s: that is Docker's own socket: want another path", listen)
}

// sameFile reports whether two paths of files, which need not be there, lead to the same.
func sameFile(a, b string) bool {
	for _, path := range []*string{&a, &b} {
		if full, err := filepath.EvalSymlinks(*path); err == nil {
			*path = full
		} else if dir, err := filepath.EvalSymlinks(filepath.Dir(*path)); err == nil {
			*path = filepath.Join(dir, filepath.Base(*path))
		}
	}
	return filepath.Clean(a) == filepath.Clean(b)
}

// openProxySocket returns systemd's socket, or else a new one, with the mode and owner of
// Docker's own.
func openProxySocket(ctx context.Context, c ProxyConfig) (*socket, error) {
	listen := cmp.Or(c.Listen, DockerProxySocket)
	sockets, err := inherited(map[string]string{dockerSocket: listen})
	if err != nil {
		return nil, err
	}
	if s := sockets[dockerSocket]; s != nil {
		if c.Listen != "" && !sameFile(c.Listen, s.path) {
			c.Log.Warnf("listen unix://%s has no effect: the socket is systemd's, unix://%s, whose ListenStream says where it is", c.Listen, s.path)
		}
		if c.Group != "" {
			c.Log.Warnf("group %q has no effect: the socket is systemd's, whose SocketGroup says whose it is", c.Group)
		}
		return s, nil
	}
	access := access{mode: 0o660}
	if access.group, err = groupID(c.Group); err != nil {
		return nil, err
	}
	return listenFor(ctx, listen, access)
}

// groupID is the number of a group. dockerd makes its socket root's alone where the usual
// group is missing, and so it is here.
func groupID(name string) (int, error) {
	wanted := name
	if wanted == "" {
		wanted = dockerGroup
	}
	g, err := user.LookupGroup(wanted)
	if errors.As(err, new(user.UnknownGroupError)) {
		if id, err := strconv.ParseUint(name, 10, 31); err == nil {
			return int(id), nil
		}
		if name == "" {
			return 0, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}

// endpoints asks mybr what its endpoints publish.
func endpoints(ctx context.Context, runDir string) (map[string]dockerproxy.Endpoint, error) {
	list, err := Client{RunDir: runDir}.Published(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]dockerproxy.Endpoint, len(list))
	for _, p := range list {
		var e dockerproxy.Endpoint
		for _, b := range p.Ports {
			e.Ports = append(e.Ports, dockerproxy.Binding(b))
		}
		all[p.Endpoint] = e
	}
	return all, nil
}

// serveProxy answers on a socket until ctx ends, and then until what is under way has ended
// or the time for that is over. What goes on then is cut off.
func serveProxy(ctx context.Context, log logrus.FieldLogger, s *socket, h http.Handler, within time.Duration) error {
	streams, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	under := underWay{idle: make(chan struct{})}
	server := &http.Server{
		Handler:                      under.counted(h), // Shutdown does not wait for connections that became streams
		BaseContext:                  func(net.Listener) context.Context { return streams },
		ReadHeaderTimeout:            proxyHeaderWithin,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     stdlog.New(logWriter{log}, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s) }()
	notify(log, daemon.SdNotifyReady)
	select {
	case err := <-ended:
		return fmt.Errorf("accept on %s: %w", s.path, err)
	case <-ctx.Done():
	}
	notify(log, daemon.SdNotifyStopping)
	s.retire()
	<-ended
	soon, stop := context.WithTimeout(context.Background(), within)
	defer stop()
	err := server.Shutdown(soon)
	under.end()
	select {
	case <-under.idle:
	case <-soon.Done():
		err = soon.Err()
	}
	if err != nil {
		log.Warnf("what did not end within %s is cut off", within)
	}
	cut()
	_ = server.Close() // its listener is closed already
	<-under.idle
	return nil
}

// underWay counts the requests that are under way, and takes no more from its end on: a
// connection that Shutdown has waited for in vain may still bring one.
type underWay struct {
	idle chan struct{} // closed: it has ended, and so have all requests

	mu    sync.Mutex
	n     int
	ended bool
}

func (u *underWay) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !u.add(1) {
			panic(http.ErrAbortHandler)
		}
		defer u.add(-1)
		h.ServeHTTP(w, r)
	})
}

// add counts a request that begins or ends; false: it is not to begin.
func (u *underWay) add(n int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended && n > 0 {
		return false
	}
	u.n += n
	if u.ended && u.n == 0 {
		close(u.idle)
	}
	return true
}

func (u *underWay) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	if u.n == 0 {
		close(u.idle)
	}
}

// UnixSocket reads the address of a unix socket as Docker's clients have it.
func UnixSocket(address string) (path string, err error) {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok || !filepath.IsAbs(path) {
		return "", errors.New("want unix:///PATH: only unix sockets, with an absolute path")
	}
	if path = filepath.Clean(path); len(path) > web.LongestPath {
		return "", fmt.Errorf("the path has %d bytes: want at most %d", len(path), web.LongestPath)
	}
	return path, nil
}
