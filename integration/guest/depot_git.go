package main

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
)

// repository is one of git with one commit of one file, as it is served over HTTP: the smart
// protocol, version 0 (gitprotocol-http(5), gitformat-pack(5)).
type repository struct {
	head string // of the commit, in hexadecimal digits
	pack []byte
}

func newRepository(file, text string) (repository, error) {
	var pack bytes.Buffer
	pack.WriteString("PACK")
	for _, n := range []uint32{2, 3} { // the version, and how many objects there are
		pack.Write(binary.BigEndian.AppendUint32(nil, n))
	}
	// add adds an object, and returns its name.
	add := func(kind byte, word, content string) ([20]byte, error) {
		size := len(content)
		b := kind<<4 | byte(size&0xf)
		for size >>= 4; size > 0; size >>= 7 {
			pack.WriteByte(b | 0x80)
			b = byte(size & 0x7f)
		}
		pack.WriteByte(b)
		z := zlib.NewWriter(&pack)
		_, err := io.WriteString(z, content)
		if err == nil {
			err = z.Close()
		}
		return sha1.Sum([]byte(fmt.Sprintf("%s %d\x00%s", word, len(content), content))), err
	}
	blob, err := add(3, "blob", text)
	if err != nil {
		return repository{}, err
	}
	tree, err := add(2, "tree", "100644 "+file+"\x00"+string(blob[:]))
	if err != nil {
		return repository{}, err
	}
	const who = "Guest <guest@depot.example> 1700000000 +0000"
	commit, err := add(1, "commit", fmt.Sprintf("tree %x\nauthor %s\ncommitter %s\n\nSay hello\n", tree, who, who))
	if err != nil {
		return repository{}, err
	}
	sum := sha1.Sum(pack.Bytes())
	pack.Write(sum[:])
	return repository{fmt.Sprintf("%x", commit), pack.Bytes()}, nil
}

// line is a pkt-line (gitprotocol-common(5)).
func line(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// refs answers what there is.
func (g repository) refs(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("service") != "git-upload-pack" {
		http.Error(w, "only the smart protocol is served, and only to who fetches", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
	w.Header().Set("Cache-Control", "no-cache")
	fmt.Fprint(w, line("# service=git-upload-pack\n"), "0000",
		line(g.head+" HEAD\x00symref=HEAD:refs/heads/main agent=guest\n"), line(g.head+" refs/heads/main\n"), "0000")
}

// upload gives all there is, to who has nothing.
func (g repository) upload(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
	fmt.Fprint(w, line("NAK\n"))
	_, _ = w.Write(g.pack) // who doesn't get it complains
}
