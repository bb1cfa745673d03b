package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// TestPage has a browser look at the page of a mybr that works: it shows a container that was
// just started and a fault that was just made, and its drawing has both; and the metrics count
// what has passed. Nothing is healed meanwhile.
func TestPage(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Driver: "mybr", MybrArgs: []string{"--http", "unix:///run/mybr/http.sock", "--resync-interval", "0"}})
	site := through(t, w.Path("/run/mybr/http.sock"))
	w.Eventually(10*time.Second, func() error {
		if code, text := fetch(t, site+"/readyz"); code != http.StatusOK {
			return fmt.Errorf("/readyz: %d %s", code, text)
		}
		return nil
	})
	if text := browse(t, site); !strings.Contains(text, "The host matches the records") || !strings.Contains(text, "Nothing is published") {
		t.Fatalf("before there is anything:\n%s", text)
	}

	w.Docker("network", "create", "-d", "mybr", "--ipam-driver", "mybr", "-o", "com.docker.network.bridge.name=front0", "--subnet", "172.18.0.0/24", "n0")
	w.Serve("web", []string{"--net", "n0", "--ip", "172.18.0.9", "-p", "8080:80"}, "tcp:80")
	id := w.Docker("inspect", "-f", "{{.NetworkSettings.Networks.n0.EndpointID}}", "web")[:12]
	seen := func(texts ...string) {
		t.Helper()
		missing := func(page string) error {
			for _, text := range texts {
				if !strings.Contains(page, text) {
					return fmt.Errorf("the page has no %q:\n%s", text, page)
				}
			}
			return nil
		}
		w.Eventually(90*time.Second, func() error { // a busy machine is compared once a minute
			_, page := fetch(t, site)
			return missing(html.UnescapeString(page))
		})
		if err := missing(html.UnescapeString(browse(t, site))); err != nil {
			t.Errorf("in the browser, %v", err)
		}
	}
	seen("The host matches the records", "front0", "172.18.0.9", id, "0.0.0.0:8080", "172.18.0.9:80", "port published")
	for _, text := range []string{"front0", "172.18.0.9", "8080"} {
		if _, drawing := fetch(t, site+"/topology.svg"); !strings.Contains(drawing, text) {
			t.Errorf("the drawing has no %s:\n%s", text, drawing)
		}
	}

	seenAs(t, "the port", w.LAN.Get("tcp", world.HostAddr+":8080"), world.LANAddr)
	w.Host.Get("tcp", "127.0.0.1:8080") // by way of the process
	w.Eventually(10*time.Second, func() error {
		_, text := fetch(t, site+"/metrics")
		var errs []error
		for series, least := range map[string]float64{
			`mybr_port_connections_total{address="0.0.0.0",network="` + w.Docker("network", "inspect", "-f", "{{.ID}}", "n0")[:12] + `",port="8080",protocol="tcp"}`: 1,
			`mybr_relay_connections_total{protocol="tcp"}`:                                         1,
			`mybr_relay_bytes_total{direction="from_containers",protocol="tcp"}`:                   1,
			`mybr_requests_total{method="NetworkDriver.ProgramExternalConnectivity",outcome="ok"}`: 1,
			`mybr_passes_total{kind="full",outcome="ok"}`:                                          1,
			`mybr_passes_total{kind="delta",outcome="ok"}`:                                         1,
			`mybr_pool_addresses{pool="mybr-local/172.18.0.0/24",state="used"}`:                    2,
			`mybr_published_ports{carried="nat",protocol="tcp"}`:                                   1,
			`mybr_store_size_bytes`:                                                                4096,
			`mybr_source_up{source="view"}`:                                                        1,
			`mybr_source_up{source="bridges"}`:                                                     1,
			`process_open_fds`:                                                                     5,
			`process_resident_memory_bytes`:                                                        1 << 20,
		} {
			if got := valueOf(text, series); got < least {
				errs = append(errs, fmt.Errorf("%s is %v, want at least %v", series, got, least))
			}
		}
		// LAN and container have sent each other more than a packet each.
		for _, direction := range []string{"from_containers", "to_containers"} {
			m := regexp.MustCompile(`mybr_network_packets_total\{bridge="front0",direction="` + direction + `",network="\w+"\} (\d+)`).FindStringSubmatch(text)
			if m == nil || len(m[1]) == 1 && m[1] < "3" {
				errs = append(errs, fmt.Errorf("packets %s: %q", direction, m))
			}
		}
		return errors.Join(errs...)
	})

	// The doctor has looked meanwhile, with what the unit leaves to mybr, and has found that
	// nothing is healed here, and nothing else.
	w.Eventually(time.Minute, func() error {
		if _, page := fetch(t, site); !strings.Contains(page, "are fine") {
			return fmt.Errorf("the doctor has found nothing:\n%s", page)
		}
		return nil
	})
	_, page := fetch(t, site)
	var found []string
	for _, m := range regexp.MustCompile(`<li class="finding (?:fault|warning)">.*?<strong>([^<]*)</strong>`).FindAllStringSubmatch(page, -1) {
		found = append(found, m[1])
	}
	if !slices.Equal(found, []string{"watching"}) {
		t.Errorf("the doctor has found %q:\n%s", found, page)
	}

	unpublish(w)
	rule := "DNAT --to-destination 172.18.0.9:80"
	if w.Backend() == world.NFTables {
		rule = "published { tcp . 8080 : 172.18.0.9 . 80 }"
	}
	seen("The host differs from the records in 1 place", rule)
	w.Docker("rm", "-f", "web")
	w.Eventually(30*time.Second, func() error {
		if _, page := fetch(t, site); strings.Contains(page, "172.18.0.9</code>") || !strings.Contains(page, "endpoint removed") {
			return fmt.Errorf("after the container has gone:\n%s", page)
		}
		return nil
	})
}

// valueOf is the value of a series; -1: there is none.
func valueOf(text, series string) float64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			if n, err := strconv.ParseFloat(value, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// through returns the URL of a unix socket, as browsers need it.
func through(t *testing.T, socket string) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "mybr"})
	proxy.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

func fetch(t *testing.T, url string) (code int, text string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// browse is what Chromium makes of a page, its scripts run, once nothing is loaded any more.
func browse(t *testing.T, url string) string {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=500", "--dump-dom", url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("chromium: %v\n%s", err, log.Bytes())
	}
	return string(out)
}
