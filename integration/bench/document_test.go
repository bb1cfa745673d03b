package bench

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example is records as a run leaves them: with what is met and what isn't, what can't be
// done, and a machine that did something else.
func example() []Record {
	path := Record{Row: "datapath", When: "2026-11-29", Machine: "2 processors (some), 24 GiB, Linux 6.18", Version: "v1.2.3", Busy: 0.1}
	connect := Record{Row: "connect", When: "2026-11-30", Machine: "2 processors (some), 24 GiB, Linux 6.18", Version: "v1.2.3", Busy: 1.5}
	ports := Record{Row: "ports-10000", When: "2026-11-30", Machine: "2 processors (some), 24 GiB, Linux 6.18", Version: "v1.2.3"}
	for round := range 9 {
		wobble := 1 + 0.01*float64(round%3-1)
		for driver, cost := range map[string]float64{Bridge: 10, "mybr-iptables": 12, "mybr-nftables": 9.8} {
			for _, networks := range QuickNetworkCounts {
				cost := cost
				if driver == "mybr-iptables" {
					cost *= 1 + float64(networks)/30
				}
				path.Add(PathKey("UDP", "28.5", driver, Published, networks, 0), Packets, 1e6/cost*wobble)
			}
		}
		for driver, cost := range map[string]float64{Bridge: 26e6, Floor: 20e6, "mybr-iptables": 42e6, "mybr-nftables": 22e6} {
			connect.Add(CallKey("Connect", "28.5", driver), Nanoseconds, cost*wobble)
			connect.Add(CallKey("Disconnect", "28.5", driver), Nanoseconds, 1.2*cost*(2-wobble))
		}
	}
	ports.Failures = []Failure{{ContainerKey("ContainerStart", "28.5", "mybr-iptables", RangeUDP, ManyPorts), "too many `open` files\n"}}
	return []Record{path, connect, ports}
}

func TestGolden(t *testing.T) {
	records := example()
	for i, r := range records { // of maps the order differs
		sortSamples(r)
		records[i] = r
	}
	files := Files(records)
	if len(files) != 2 || files["performance-udp.svg"] == nil {
		t.Errorf("%d files, want the document and the picture of UDP", len(files))
	}
	path := filepath.Join("testdata", "performance.md")
	have := files["performance.md"]
	if *update {
		if err := os.WriteFile(path, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(want) {
		t.Errorf("%s is out of date: go test ./integration/bench -update, and look at it", path)
	}
}

// The document and its pictures are what the records that are kept say.
func TestDocument(t *testing.T) {
	records, err := Read("records")
	if err != nil {
		t.Fatal(err)
	}
	if len(records) == 0 {
		t.Fatal("there are no records")
	}
	for name, want := range Files(records) {
		have, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil || string(have) != string(want) {
			t.Errorf("docs/%s is not what the records say (%v): go run ./integration/bench/run -render", name, err)
		}
	}
}

func sortSamples(r Record) {
	for i := range r.Samples {
		for j := range r.Samples[:i] {
			if r.Samples[i].Key < r.Samples[j].Key {
				r.Samples[i], r.Samples[j] = r.Samples[j], r.Samples[i]
			}
		}
	}
}

// What is written is read again, and a run in parts gives one set.
func TestRecords(t *testing.T) {
	dir := t.TempDir()
	records := example()
	for _, r := range records {
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	again := records[1]
	again.When = "2026-12-01"
	if err := again.Write(dir); err != nil {
		t.Fatal(err)
	}
	have, err := Read(dir)
	if err != nil || !reflect.DeepEqual(have, []Record{records[0], again, records[2]}) {
		t.Errorf("%v, %+v", err, have)
	}
	for name, text := range map[string]string{"unknown.json": `{"Row":"unknown"}`, "broken.json": `{`} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// Lines are what benchstat reads: a name that begins with a capital, a count, and a value
// with its unit.
func TestLines(t *testing.T) {
	r := Record{}
	r.Add(CallKey("Connect", "28.5", Bridge), Nanoseconds, 1234568)
	r.Add(CallKey("Connect", "28.5", Bridge), Nanoseconds, 0.5)
	r.Add(SizeKey("Memory", "28.5", Bridge, "published", 0), Bytes, 20<<20)
	want := `BenchmarkConnect/engine=28.5/driver=bridge 1 1234570 ns/op
BenchmarkConnect/engine=28.5/driver=bridge 1 0.5 ns/op
BenchmarkMemory/engine=28.5/driver=bridge/published=0 1 20971500 bytes
`
	if r.Lines() != want {
		t.Errorf("have\n%swant\n%s", r.Lines(), want)
	}
}

// What several rows have measured counts as the first has it, since it was measured beside
// what that is compared with.
func TestSetOfSeveral(t *testing.T) {
	var records []Record
	for i := range 2 {
		r := Record{Row: fmt.Sprint(i)}
		r.Add("Same/engine=1", Nanoseconds, float64(i))
		r.Add(NewKey("Own", "engine", i), Nanoseconds, float64(i))
		records = append(records, r)
	}
	set := NewSet(records...)
	if len(set) != 3 || set["Same/engine=1"].Values[0] != 0 {
		t.Errorf("%+v", set)
	}
}
