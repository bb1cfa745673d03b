package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// what everything that is got says.
const hello = "hello from the depot"

// made is when all was.
var made = time.Unix(1700000000, 0).UTC()

// file is one of an archive.
type file struct{ name, text string }

// gzipped is a .tar.gz. A name that ends with a slash is a directory.
func gzipped(files ...file) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text)), ModTime: made, Typeflag: tar.TypeReg, Format: tar.FormatGNU}
		if strings.HasSuffix(f.name, "/") {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write([]byte(f.text)); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// zipped is a .zip.
func zipped(files ...file) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.Create(f.name)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}

// newShelves serves everything that a depot has. The files of Python packages are at the host files,
// if the index is asked for by a name of the same domain.
func newShelves(files string) (*http.ServeMux, error) {
	h := http.NewServeMux()
	for _, add := range []func(*http.ServeMux) error{addGit, addNPM, func(h *http.ServeMux) error { return addPython(h, files) }, addGo, addApt} {
		if err := add(h); err != nil {
			return nil, err
		}
	}
	give(h, "/hello.txt", "text/plain", []byte(hello+"\n"))
	return h, nil
}

// give serves a file, and nothing below it.
func give(h *http.ServeMux, path, kind string, b []byte) {
	h.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		http.ServeContent(w, r, "", made, bytes.NewReader(b))
	})
}

func addGit(h *http.ServeMux) error {
	g, err := newRepository("hello.txt", hello+"\n")
	if err != nil {
		return err
	}
	h.HandleFunc("/git/hello.git/info/refs", g.refs)
	h.HandleFunc("/git/hello.git/git-upload-pack", g.upload)
	return nil
}

// addNPM serves a registry of npm (https://github.com/npm/registry, docs/responses/package-metadata.md).
func addNPM(h *http.ServeMux) error {
	type object = map[string]any
	about := object{"name": "hello", "version": "1.0.0", "main": "index.js"}
	text, err := json.Marshal(about)
	if err != nil {
		return err
	}
	b, err := gzipped(file{"package/package.json", string(text)}, file{"package/index.js", fmt.Sprintf("module.exports = %q\n", hello)})
	if err != nil {
		return err
	}
	give(h, "/npm/hello/-/hello-1.0.0.tgz", "application/octet-stream", b)
	sum := sha512.Sum512(b)
	h.HandleFunc("/npm/hello", func(w http.ResponseWriter, r *http.Request) {
		about["dist"] = object{"tarball": "https://" + r.Host + "/npm/hello/-/hello-1.0.0.tgz",
			"integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]), "shasum": fmt.Sprintf("%x", sha1.Sum(b))}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(object{"name": "hello", "dist-tags": object{"latest": "1.0.0"}, "versions": object{"1.0.0": about}})
	})
	return nil
}

// addPython serves an index of Python packages (PEP 503) and a wheel (PEP 427).
func addPython(h *http.ServeMux, files string) error {
	const name, about = "hello-1.0-py3-none-any.whl", "hello-1.0.dist-info/"
	b, err := zipped(
		file{"hello.py", fmt.Sprintf("text = %q\n", hello)},
		file{about + "METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n"},
		file{about + "WHEEL", "Wheel-Version: 1.0\nGenerator: guest\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		file{about + "RECORD", "hello.py,,\n" + about + "METADATA,,\n" + about + "WHEEL,,\n" + about + "RECORD,,\n"},
	)
	if err != nil {
		return err
	}
	give(h, "/wheels/"+name, "application/octet-stream", b)
	_, domain, _ := strings.Cut(files, ".")
	h.HandleFunc("/simple/hello/", func(w http.ResponseWriter, r *http.Request) {
		at := r.Host
		if strings.HasSuffix(at, "."+domain) {
			at = files
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!DOCTYPE html><html><body><a href=\"https://%s/wheels/%s#sha256=%x\">%s</a></body></html>\n", at, name, sha256.Sum256(b), name)
	})
	return nil
}

// addGo serves a proxy of Go modules (https://go.dev/ref/mod#goproxy-protocol).
func addGo(h *http.ServeMux) error {
	const module, version = "depot.example/hello", "v1.0.0"
	const mod = "module " + module + "\n\ngo 1.18\n"
	at := module + "@" + version + "/"
	b, err := zipped(file{at + "go.mod", mod}, file{at + "hello.go", fmt.Sprintf("package hello\n\nconst Text = %q\n", hello)})
	if err != nil {
		return err
	}
	info := fmt.Sprintf(`{"Version":%q,"Time":%q}`, version, made.Format(time.RFC3339))
	of := "/go/" + module + "/@v/"
	give(h, of+"list", "text/plain", []byte(version+"\n"))
	give(h, of+version+".info", "application/json", []byte(info))
	give(h, of+version+".mod", "text/plain", []byte(mod))
	give(h, of+version+".zip", "application/zip", b)
	return nil
}

// addApt serves a flat repository of apt (sources.list(5)) with a package (deb(5)).
func addApt(h *http.ServeMux) error {
	control := "Package: hello-depot\nVersion: 1.0\nArchitecture: all\nMaintainer: Guest <guest@depot.example>\nDescription: says hello\n"
	about, err := gzipped(file{"./", ""}, file{"./control", control})
	if err != nil {
		return err
	}
	data, err := gzipped(file{"./", ""}, file{"./usr/", ""}, file{"./usr/share/", ""}, file{"./usr/share/hello-depot/", ""}, file{"./usr/share/hello-depot/text", hello + "\n"})
	if err != nil {
		return err
	}
	var deb bytes.Buffer
	deb.WriteString("!<arch>\n")
	for _, m := range []file{{"debian-binary", "2.0\n"}, {"control.tar.gz", string(about)}, {"data.tar.gz", string(data)}} {
		fmt.Fprintf(&deb, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, made.Unix(), 0, 0, "100644", len(m.text), m.text)
		if len(m.text)%2 != 0 {
			deb.WriteByte('\n')
		}
	}
	packages := fmt.Sprintf("%sFilename: deb/hello-depot_1.0_all.deb\nSize: %d\nSHA256: %x\n\n", control, deb.Len(), sha256.Sum256(deb.Bytes()))
	release := fmt.Sprintf("Origin: depot\nLabel: depot\nSuite: stable\nDate: %s\nSHA256:\n %x %d Packages\n", made.Format(time.RFC1123), sha256.Sum256([]byte(packages)), len(packages))
	give(h, "/deb/hello-depot_1.0_all.deb", "application/octet-stream", deb.Bytes())
	give(h, "/deb/Packages", "text/plain", []byte(packages))
	give(h, "/deb/Release", "text/plain", []byte(release))
	return nil
}
