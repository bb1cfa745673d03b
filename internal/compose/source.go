package compose

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// source is the text of a file, with what is to be changed in it.
type source struct {
	text  []byte
	lines []int // where each begins
	edits []edit
}

// edit puts text in the place of some bytes.
type edit struct {
	at, cut int
	text    string
}

func newSource(text []byte) *source {
	s := &source{text: text, lines: []int{0}}
	for i, b := range text {
		if b == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// offset is where a node begins. The parser counts characters from 1, without a byte order
// mark at the beginning of the file.
func (s *source) offset(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(s.lines) {
		return len(s.text)
	}
	at := s.lines[n.Line-1]
	if n.Line == 1 && bytes.HasPrefix(s.text, []byte("\uFEFF")) {
		at += len("\uFEFF")
	}
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(s.text[at:])
		at += size
	}
	return at
}

// value is where a node's value begins: behind its anchor and its tag.
func (s *source) value(n *yaml.Node) int {
	at := s.offset(n)
	for at < len(s.text) && (s.text[at] == '&' || s.text[at] == '!') {
		end := bytes.IndexAny(s.text[at:], " \t\r\n")
		if end < 0 {
			return len(s.text)
		}
		at += end
		at += len(s.text[at:]) - len(bytes.TrimLeft(s.text[at:], " \t\r\n"))
	}
	return at
}

// endOfLine is where the line ends that has this place, without its line break.
func (s *source) endOfLine(at int) int {
	if i := bytes.IndexByte(s.text[at:], '\n'); i >= 0 {
		at += i
		if at > 0 && s.text[at-1] == '\r' {
			at--
		}
		return at
	}
	return len(s.text)
}

// newline is how the file ends its lines.
func (s *source) newline() string {
	if bytes.Contains(s.text, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

func (s *source) insert(at int, text string) { s.edits = append(s.edits, edit{at: at, text: text}) }

// replace puts another word in the place of a plain or quoted one, or of an alias, and
// keeps the quotes. Other forms it refuses.
func (s *source) replace(n *yaml.Node, word string) error {
	at := s.value(n)
	var have string
	switch {
	case n.Kind == yaml.AliasNode:
		have = "*" + n.Value
	case n.Kind != yaml.ScalarNode:
		return fmt.Errorf("line %d: want a word", n.Line)
	case n.Style&yaml.DoubleQuotedStyle != 0:
		have, word = `"`+n.Value+`"`, `"`+word+`"`
	case n.Style&yaml.SingleQuotedStyle != 0:
		have, word = `'`+n.Value+`'`, `'`+word+`'`
	default:
		have = n.Value
	}
	if at > len(s.text) || !bytes.HasPrefix(s.text[at:], []byte(have)) {
		return fmt.Errorf("line %d: %q is not written in a way that can be changed here: set it by hand", n.Line, n.Value)
	}
	s.edits = append(s.edits, edit{at: at, cut: len(have), text: word})
	return nil
}

// apply makes the edits.
func (s *source) apply() ([]byte, error) {
	slices.SortStableFunc(s.edits, func(a, b edit) int { return a.at - b.at })
	var out bytes.Buffer
	done := 0
	for _, e := range s.edits {
		if e.at < done || e.at+e.cut > len(s.text) {
			return nil, fmt.Errorf("byte %d of the file would be changed twice: set the drivers by hand", e.at)
		}
		out.Write(s.text[done:e.at])
		out.WriteString(e.text)
		done = e.at + e.cut
	}
	out.Write(s.text[done:])
	return out.Bytes(), nil
}

// put adds a key with a value to a mapping, as its first: `driver`, `mybr`, or keys one
// below the other and a value. A mapping in braces gets them in braces.
func (s *source) put(m *yaml.Node, path ...string) {
	if m.Style&yaml.FlowStyle != 0 {
		text := flow(quoted(m), path...)
		if len(m.Content) > 0 {
			text += ", "
		}
		s.insert(s.value(m)+1, text)
		return
	}
	first := m.Content[0]
	indent := strings.Repeat(" ", first.Column-1)
	s.insert(s.offset(first), s.block(indent, path...)+s.newline()+indent)
}

// block is a path in lines of its own; the first one is not indented.
func (s *source) block(indent string, path ...string) string {
	if len(path) == 2 {
		return path[0] + ": " + path[1]
	}
	indent += "  "
	return path[0] + ":" + s.newline() + indent + s.block(indent, path[1:]...)
}

// flow is a path in one line.
func flow(quote bool, path ...string) string {
	first := path[0]
	if quote {
		first = `"` + first + `"`
	}
	switch len(path) {
	case 1:
		return first
	case 2:
		return first + ": " + flow(quote, path[1])
	}
	return first + ": {" + flow(quote, path[1:]...) + "}"
}

// quoted reports whether the keys of a mapping have quotes, as they have in JSON.
func quoted(m *yaml.Node) bool {
	return len(m.Content) > 0 && m.Content[0].Style&yaml.DoubleQuotedStyle != 0
}
