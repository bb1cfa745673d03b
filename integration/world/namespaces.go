package world

import (
	"fmt"
	"os"
	"path/filepath"
)

// Namespace is a network namespace of a world, and a file of it that lives as long as the
// namespace's place.
type Namespace struct{ Name, Path string }

// Namespaces lists the host, the LAN's hosts ("lan", "lan2", …), its switch, and the
// containers that run: without dockerd those that it has left files of, by these files' names.
func (w *World) Namespaces() []Namespace {
	w.t.Helper()
	of := func(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
	all := []Namespace{{"host", of(w.Host.netns)}, {"switch", of(w.lan.ns)}}
	for i, p := range w.LANs {
		name := "lan"
		if i > 0 {
			name = fmt.Sprint("lan", i+1)
		}
		all = append(all, Namespace{name, of(p.netns)})
	}
	resp, err := w.api("/_ping")
	if err != nil {
		files, err := filepath.Glob(w.Path("/run/docker/netns/*"))
		w.must(err)
		for _, f := range files {
			all = append(all, Namespace{"namespace " + filepath.Base(f), f})
		}
		return all
	}
	resp.Body.Close()
	var running []struct{ Names []string }
	w.API("/containers/json", &running)
	for _, c := range running {
		name := c.Names[0][1:]
		all = append(all, Namespace{name, w.Container(name).path})
	}
	return all
}
