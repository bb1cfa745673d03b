// Package docs runs the shell blocks of README.md and docs/, so that what a reader copies
// does what is written there.
//
// A comment above each block says what becomes of it:
//
//	<!-- run -->                     it runs, and has to succeed
//	<!-- run: exit 1 -->             it has to end with that status
//	<!-- run: prints PATTERN -->     a regular expression that its output has to match
//	<!-- not run: WHY -->            it doesn't; the reason says what shows that it is right
//	<!-- blocks not run: WHY -->     the same for all blocks of a page, near its beginning
//
// and above a block of another language, `<!-- file: NAME -->` puts it into a file in the
// directory that the page's blocks run in.
//
// Be aware: one engine plays all pages, each after what the one before has left was removed;
// blocks of a page build on each other. `docker compose` is the machine's docker-compose.
package docs

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// block is a part of a page between fences.
type block struct {
	page     string
	line     int // of its first fence
	language string
	text     string

	file   string // where it is written to; "": nowhere
	run    bool
	why    string         // of one that isn't run
	exit   int            // that it has to end with
	prints *regexp.Regexp // nil: whatever
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// isShell reports whether a reader would paste the block into a shell.
func (b block) isShell() bool {
	return b.language == "sh" || b.language == "bash" || b.language == "shell" || b.language == "console"
}

var (
	fence   = regexp.MustCompile("^\\s*```+\\s*(\\S*)")
	comment = regexp.MustCompile(`^<!-- (.*) -->$`)
	ofPage  = regexp.MustCompile(`(?m)^<!-- blocks not run: (.+) -->$`)
)

// readPage lists the blocks of a page. A shell block without a word of what becomes of it is
// an error.
func readPage(path, name string) (all []block, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parsePage(name, text)
}

func parsePage(name string, text []byte) (all []block, err error) {
	why := ""
	if m := ofPage.FindSubmatch(text); m != nil {
		why = string(m[1])
	}
	var open *block
	above, number := "", 0
	for raw := range bytes.Lines(text) {
		number++
		line := strings.TrimRight(string(raw), "\r\n")
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			open = &block{page: name, line: number, language: m[1]}
			if err := open.mark(above, why); err != nil {
				return nil, err
			}
		case open != nil && m != nil:
			all = append(all, *open)
			open, above = nil, ""
		case open != nil:
			open.text += line + "\n"
		case strings.TrimSpace(line) != "":
			above = strings.TrimSpace(line)
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%v: the block has no end", open)
	}
	return all, nil
}

// mark reads what the line above a block says of it.
func (b *block) mark(above, whyPage string) error {
	said := ""
	if m := comment.FindStringSubmatch(above); m != nil {
		said = m[1]
	}
	word, rest, _ := strings.Cut(said, ": ")
	switch {
	case word == "file" && rest != "" && !b.isShell():
		b.file = rest
	case !b.isShell():
	case word == "run":
		b.run = true
		return b.expect(rest)
	case word == "not run" && rest != "":
		b.why = rest
	case whyPage != "":
		b.why = whyPage
	default:
		return fmt.Errorf("%v: a shell block needs a comment above it that says `run`, or `not run: ` and why", b)
	}
	return nil
}

// expect reads what a block has to come to.
func (b *block) expect(text string) (err error) {
	if text == "" {
		return nil
	}
	if pattern, ok := strings.CutPrefix(text, "prints "); ok {
		b.prints, err = regexp.Compile("(?s)" + pattern)
	} else if status, ok := strings.CutPrefix(text, "exit "); ok {
		b.exit, err = strconv.Atoi(status)
	} else {
		err = fmt.Errorf("%q is neither `exit STATUS` nor `prints PATTERN`", text)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", b, err)
	}
	return nil
}
