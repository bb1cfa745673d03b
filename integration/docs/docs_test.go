package docs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/plugin"
)

func TestMain(m *testing.M) {
	world.Main()
	os.Exit(m.Run())
}

// pages lists the blocks of README.md and docs/, by page.
func pages(t *testing.T) (all [][]block) {
	t.Helper()
	found, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shells := 0
	for _, path := range append([]string{"../../README.md"}, found...) {
		name, err := filepath.Rel("../..", path)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := readPage(path, name)
		if err != nil {
			t.Error(err)
		}
		for _, b := range blocks {
			if b.run {
				shells++
			}
		}
		all = append(all, blocks)
	}
	if len(all) < 5 || shells < 10 {
		t.Fatalf("%d pages have %d blocks to run", len(all), shells)
	}
	return all
}

// Every shell block says what becomes of it.
func TestBlocksAreMarked(t *testing.T) { pages(t) }

// The blocks of each page run one after the other, in a directory of the page's, on an
// engine that has an image nginx.
func TestBlocks(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's documents")
	}
	all := pages(t)
	s := newStage(t)
	for _, page := range all {
		if !slices.ContainsFunc(page, func(b block) bool { return b.run }) {
			continue
		}
		t.Run(strings.ReplaceAll(page[0].page, "/", "_"), func(t *testing.T) {
			s.w.During(t)
			defer s.sweep()
			s.play(t, page)
		})
	}
}

// stage is where blocks run.
type stage struct {
	w        *world.World
	bin      string      // comes first in PATH
	services chan string // what systemctl is to do
	served   chan bool   // that it is done
}

func newStage(t *testing.T) *stage {
	t.Helper()
	w := world.New(t, world.Config{})
	if w.Host.Try("test", "-x", "/usr/bin/curl", "-a", "-x", "/usr/bin/docker-compose").Code != 0 {
		t.Skip("make need-compose installs what this needs: curl, docker-compose")
	}
	w.Docker("create", "--name", "proto", world.Image)
	w.Docker("commit", "--change", `CMD ["serve","http:80"]`, "--change", "EXPOSE 80", "proto", "nginx")
	w.Docker("rm", "proto")
	// The records are where an installed mybr has them.
	w.Host.Run("mount", "-t", "tmpfs", "tmpfs", "/var/lib")
	w.Host.Run("mkdir", "/var/lib/mybr")
	w.Host.Run("mount", "--bind", w.StateDir(), "/var/lib/mybr")

	s := &stage{w: w, bin: t.TempDir(), services: make(chan string), served: make(chan bool)}
	program(t, filepath.Join(s.bin, "mybr"), `exec `+w.Mybr()+` "$@"`)
	// nginx answers as soon as it runs, for a reader who types.
	program(t, filepath.Join(s.bin, "docker"), `export DOCKER_HOST=unix:///run/docker.sock
if [ "$1" = compose ]; then shift; exec /usr/bin/docker-compose "$@"; fi
if [ "$1 $2" != "run -d" ]; then exec /usr/bin/docker "$@"; fi
id=$(/usr/bin/docker "$@") && echo "$id" &&
timeout 60 sh -c 'until /usr/bin/docker logs "$1" | grep -q ready; do :; done' sh "$id"`)
	ask, answer := filepath.Join(s.bin, "ask"), filepath.Join(s.bin, "answer")
	for _, path := range []string{ask, answer} {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program(t, filepath.Join(s.bin, "systemctl"), `echo "$@" >`+ask+`; read -r done <`+answer)
	go func() { // ends with the test process
		for {
			text, err := os.ReadFile(ask)
			if err != nil {
				return
			}
			s.services <- strings.TrimSpace(string(text))
			<-s.served
			if err := os.WriteFile(answer, []byte("done\n"), 0o600); err != nil {
				return
			}
		}
	}()
	return s
}

// service does what systemctl would.
func (s *stage) service(t *testing.T, words string) {
	t.Helper()
	switch words {
	case "stop mybr.service mybr.socket":
		s.w.StopMybr()
	case "start mybr.socket mybr.service":
		s.w.StartMybr()
	case "restart mybr.service":
		s.w.RestartMybr()
	default:
		t.Fatalf("systemctl %s: unknown", words)
	}
	if strings.HasPrefix(words, "stop") {
		return
	}
	s.w.Eventually(time.Minute, func() error { // the unit is started when mybr says that it is ready
		status, err := plugin.Client{RunDir: s.w.Path("/run/mybr")}.Status(t.Context())
		if err == nil && !status.Ready {
			err = errors.New("not ready")
		}
		return err
	})
}

// play runs a page's blocks until one fails: the next ones build on it.
func (s *stage) play(t *testing.T, page []block) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "project")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, b := range page {
		if b.file != "" {
			if err := os.WriteFile(filepath.Join(dir, b.file), []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if !b.run {
			continue
		}
		start := time.Now()
		ended := make(chan world.Result)
		go func() {
			ended <- s.w.Host.Try("bash", "-ec", `PATH=$1:$PATH; cd "$2"; eval "$3"`, "bash", s.bin, dir, b.text)
		}()
		var r world.Result
		for running := true; running; {
			select {
			case words := <-s.services:
				s.service(t, words)
				s.served <- true
			case r = <-ended:
				running = false
			}
		}
		t.Logf("%v: %v", b, time.Since(start).Round(time.Millisecond))
		if r.Code != b.exit {
			t.Fatalf("%v: exit status %d, want %d\n%s\n%s%s", b, r.Code, b.exit, b.text, r.Out, r.Err)
		}
		if b.prints != nil && !b.prints.MatchString(r.Out) {
			t.Fatalf("%v: does not print %s\n%s\n%s%s", b, b.prints, b.text, r.Out, r.Err)
		}
	}
}

// sweep removes what a page's blocks have left.
func (s *stage) sweep() {
	if left := strings.Fields(s.w.Docker("ps", "-aq")); len(left) > 0 {
		s.w.Docker(append([]string{"rm", "-f"}, left...)...)
	}
	s.w.Docker("network", "prune", "-f")
}

// program writes a shell script.
func program(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestParsePage(t *testing.T) {
	page := strings.ReplaceAll(`# A page

<!-- run -->
'''sh
echo a
'''

<!-- not run: it lasts an hour -->

'''sh
sleep 3600
'''

<!-- file: a.yaml -->
'''yaml
a: b
'''

'''
no shell
'''

<!-- run: exit 1 -->
'''bash
false
'''

<!-- run: prints ^a\n -->
'''sh
echo a
'''
`, "'''", "```")
	all, err := parsePage("page.md", []byte(page))
	if err != nil || len(all) != 6 {
		t.Fatalf("%+v, %v", all, err)
	}
	if b := all[0]; !b.run || b.line != 4 || b.text != "echo a\n" || b.exit != 0 || b.prints != nil {
		t.Errorf("%+v", b)
	}
	if b := all[1]; b.run || b.why != "it lasts an hour" {
		t.Errorf("%+v", b)
	}
	if b := all[2]; b.run || b.file != "a.yaml" || b.text != "a: b\n" {
		t.Errorf("%+v", b)
	}
	if b := all[3]; b.run || b.file != "" || b.text != "no shell\n" {
		t.Errorf("%+v", b)
	}
	if b := all[4]; !b.run || b.exit != 1 {
		t.Errorf("%+v", b)
	}
	if b := all[5]; !b.run || b.prints == nil || !b.prints.MatchString("a\nb") {
		t.Errorf("%+v", b)
	}
	for text, want := range map[string]string{
		"'''sh\na\n'''\n":                                          "page.md:1: a shell block needs",
		"<!-- run -->\ntext\n'''sh\na\n'''\n":                      "page.md:3: a shell block needs",
		"<!-- not run: -->\n'''sh\na\n'''\n":                       "page.md:2: a shell block needs",
		"<!-- run -->\n'''sh\na\n'''\n'''sh\nb\n'''\n":             "page.md:5: a shell block needs",
		"<!-- run: exit a -->\n'''sh\na\n'''\n":                    "page.md:2: strconv.Atoi",
		"<!-- run: prints [ -->\n'''sh\na\n'''\n":                  "page.md:2: error parsing regexp",
		"<!-- run: later -->\n'''sh\na\n'''\n":                     `page.md:2: "later" is neither`,
		"<!-- run -->\n'''sh\na\n":                                 "page.md:2: the block has no end",
		"<!-- blocks not run: because -->\n<!-- run: x -->\n'''sh": "is neither",
	} {
		if _, err := parsePage("page.md", []byte(strings.ReplaceAll(text, "'''", "```"))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	all, err = parsePage("page.md", []byte("<!-- blocks not run: a test does -->\n\n```sh\na\n```\n"))
	if err != nil || len(all) != 1 || all[0].run || all[0].why != "a test does" {
		t.Errorf("%+v, %v", all, err)
	}
}
