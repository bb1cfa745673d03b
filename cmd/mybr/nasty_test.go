package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// nasty would clear a terminal's screen and make lines of its own.
const nasty = "\x1b[2J\u009b1m\r\n\u202ex\x00\xff"

// What the operator's commands print of others' names does nothing to a terminal.
func TestCommandsPrintNothingNasty(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, "mybr.sock"))
	if err != nil {
		t.Fatal(err)
	}
	status := http.StatusOK
	answer := func(body any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			if status != http.StatusOK {
				body = map[string]string{"error": nasty}
			}
			_ = json.NewEncoder(w).Encode(body) // the client reads it
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/status", answer(plugin.Status{Version: nasty, Firewall: nasty, Ready: true, LastError: nasty, Unknown: nasty}))
	mux.HandleFunc("/v1/diff", answer([]plugin.Difference{{Aspect: nasty, Changes: []string{nasty}, Error: nasty}}))
	mux.HandleFunc("/v1/sync", answer([]plugin.Difference{{Aspect: nasty, Changes: []string{nasty}, Error: nasty}}))
	mux.HandleFunc("/v1/view", answer(nastyView()))
	mux.HandleFunc("/v1/events", answer(event.Event{Kind: nasty, Aspect: nasty, Network: nasty, Bridge: nasty, Endpoint: nasty, Addresses: []string{nasty},
		Ports: []string{nasty}, By: nasty}))
	mux.HandleFunc("/v1/rules", answer(view.Rules{Version: view.Version, Unknown: nasty, Rules: []view.Rule{{Command: nasty, Table: nasty, Chain: nasty, Rule: nasty,
		Why: nasty, Bridge: nasty, Network: nasty, Endpoint: nasty}}, Differences: []view.RuleDifference{{Command: nasty, Table: nasty, Chain: nasty, Rule: nasty,
		Mend: nasty, Why: nasty}}}))
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	defer func() {
		server.Close()
		<-ended
	}()
	for _, status = range []int{http.StatusOK, http.StatusInternalServerError} {
		for _, args := range []string{"status", "status --diff", "sync", "events", "network ls", "network inspect x", "endpoint ls", "ports", "pool ls",
			"rules", "rules --diff", "rules -o json", "rules --diff -o json", "topology",
			"status -o json", "sync -o json", "events -o json", "network inspect x -o json", "endpoint ls -o json", "ports -o json", "pool ls -o json"} {
			var out bytes.Buffer
			run(context.Background(), append(strings.Fields(args), "--run-dir", dir), &out, &out)
			if text := strings.ReplaceAll(out.String(), `\\`, `\`); !strings.Contains(text, `\x1b[2J\u009b1m\r`) {
				t.Errorf("%s prints %q", args, out.String())
			}
			checkPrintable(t, args, out.String())
		}
	}
}

// An error names files, links and processes of others.
func TestErrorsPrintNothingNasty(t *testing.T) {
	var out bytes.Buffer
	run(context.Background(), []string{"status", "--run-dir", "/" + strings.ReplaceAll(nasty, "\x00", "")}, &out, &out)
	if !strings.Contains(out.String(), `\x1b[2J\u009b1m\r`) {
		t.Errorf("%q", out.String())
	}
	checkPrintable(t, "status", out.String())
}

// nastyView is one of a mybr, with names of a Docker's, that says nothing but nasty things.
func nastyView() view.View {
	v := view.View{Version: view.Version, Unknown: nasty, Networks: []view.Network{{ID: "x" + nasty, Name: nasty, Bridge: nasty, Routes: []string{nasty},
		Trusted: []string{nasty}, Subnets: []view.Subnet{{Family: nasty, Mode: nasty}}}}}
	v.Endpoints = []view.Endpoint{{ID: nasty, Container: nasty, Network: "x" + nasty, Bridge: nasty, Veth: nasty, MAC: nasty, Sandbox: nasty}}
	v.Ports = []view.Port{{Proto: nasty, Carried: nasty, Network: "x" + nasty, Bridge: nasty, Endpoint: nasty, Name: nasty}}
	v.Pools = []view.Pool{{ID: nasty, Space: nasty}}
	return v
}

func checkPrintable(t *testing.T, what, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); plugin.Printable(line) != line {
			t.Errorf("%s: %q", what, line)
		}
	}
}

// A log entry is one line that does nothing to a terminal, whatever is in it.
func TestLogEntriesAreLines(t *testing.T) {
	for _, format := range []string{formatText, formatJSON} {
		var out bytes.Buffer
		log := newLog(&out, logrus.InfoLevel, format)
		if f, ok := log.Formatter.(*logrus.TextFormatter); ok && !f.DisableColors {
			t.Error("in a terminal, messages are not quoted")
		}
		log.WithField("field", nasty).WithField(logrus.ErrorKey, nasty).Warn(nasty)
		if n := strings.Count(out.String(), "\n"); n != 1 || strings.ContainsAny(out.String(), "\x1b\r\x00") {
			t.Errorf("%s: %q", format, out.String())
		}
		if format == formatText {
			checkPrintable(t, format, out.String())
		}
	}
}
