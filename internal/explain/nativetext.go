package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Text is the element as nft(8) prints it, without what it has counted.
func (e NativeElement) Text() string {
	text := exprText(e.Key)
	if e.Data != nil {
		text += " : " + exprText(e.Data)
	}
	return "{ " + text + " }"
}

// exprText prints what elements are made of.
func exprText(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return plainText(text)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || len(object) != 1 {
		return string(raw)
	}
	for what, of := range object {
		var several []json.RawMessage
		_ = json.Unmarshal(of, &several) // of others it is no list
		switch what {
		case "concat":
			return joined(several, " . ")
		case "range":
			return joined(several, "-")
		case "prefix":
			var p struct {
				Addr string
				Len  int
			}
			if json.Unmarshal(of, &p) == nil {
				return p.Addr + "/" + strconv.Itoa(p.Len)
			}
		}
		if e, ok := parseVerdict(what, of); ok {
			return strings.TrimSpace(what + " " + e.chain)
		}
	}
	return string(raw)
}

func joined(parts []json.RawMessage, by string) string {
	var words []string
	for _, raw := range parts {
		words = append(words, exprText(raw))
	}
	return strings.Join(words, by)
}

// plainText has the quotes that nft(8) gives names of links: whatever is no address, and no
// name of a protocol.
func plainText(text string) string {
	switch _, err := netip.ParseAddr(text); {
	case err == nil, text == TCP, text == UDP, text == SCTP, text == "*":
		return text
	}
	return fmt.Sprintf("%q", text)
}
