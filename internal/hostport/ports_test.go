package hostport

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

func (s *portSet) list() []int {
	var all []int
	for p := range 1 << 16 {
		if s.has(uint16(p)) {
			all = append(all, p)
		}
	}
	return all
}

func TestParsePorts(t *testing.T) {
	for text, want := range map[string]string{
		"\n":                    "[]",
		"":                      "[]",
		"8080\n":                "[8080]",
		"8080,9148\n":           "[8080 9148]",
		"1-4,10-10,65534-65535": "[1 2 3 4 10 65534 65535]",
		"0-1":                   "[0 1]",
		"1-3,2-4, 9":            "[1 2 3 4 9]",
	} {
		set, err := parsePorts(text)
		if got := fmt.Sprint(set.list()); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "1-", "-1", "1-x", "4-1", "65536", "1,,2", "1-2-3"} {
		if _, err := parsePorts(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestParsePortsReadsBackWhatTheKernelWouldWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ports := rapid.SliceOfDistinct(rapid.IntRange(0, 65535), rapid.ID).Draw(t, "ports")
		slices.Sort(ports)
		var items []string
		for i := 0; i < len(ports); {
			j := i
			for j+1 < len(ports) && ports[j+1] == ports[j]+1 {
				j++
			}
			if i == j {
				items = append(items, fmt.Sprint(ports[i]))
			} else {
				items = append(items, fmt.Sprintf("%d-%d", ports[i], ports[j]))
			}
			i = j + 1
		}
		set, err := parsePorts(strings.Join(items, ",") + "\n")
		if err != nil || !slices.Equal(set.list(), append([]int(nil), ports...)) {
			t.Fatalf("%v: %v, %v", items, set.list(), err)
		}
	})
}

func FuzzParsePorts(f *testing.F) {
	f.Add("8080,9148-9150\n")
	f.Add("1-65535")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := parsePorts(text)
		if err != nil {
			return
		}
		for _, p := range set.list() { // nothing out of thin air: some item covers it
			if !slices.ContainsFunc(strings.Split(strings.TrimSpace(text), ","), func(item string) bool {
				from, to, isRange := strings.Cut(strings.TrimSpace(item), "-")
				if !isRange {
					to = from
				}
				first, _ := parsePort(from)
				last, _ := parsePort(to)
				return int(first) <= p && p <= int(last)
			}) {
				t.Fatalf("%q: %d", text, p)
			}
		}
	})
}

func TestParseRange(t *testing.T) {
	first, last, err := parseRange("32768\t60999\n")
	if err != nil || first != 32768 || last != 60999 {
		t.Errorf("%d %d %v", first, last, err)
	}
	for _, text := range []string{"", "1", "5 4", "0 0", "1 2 3", "1 65536", "a b"} {
		if _, _, err := parseRange(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// Every port comes once: the upper half from behind the last choice and round, then the
// lower half downwards.
func TestChoicesBeginInTheUpperHalf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint16Range(1, 65535).Draw(t, "first")
		s := &span{first: first, last: rapid.Uint16Range(first, uint16(min(65535, int(first)+40))).Draw(t, "last")}
		for _, p := range rapid.SliceOf(rapid.Uint16Range(s.first, s.last)).Draw(t, "reserved") {
			s.skip.add(p)
		}
		last := rapid.Uint16().Draw(t, "chosen last")
		if rapid.Bool().Draw(t, "near") {
			last = rapid.Uint16Range(s.first-1, uint16(min(65535, int(s.last)+1))).Draw(t, "chosen last in the span")
		}
		var behind, before, below []uint16
		for p := int(s.first); p <= int(s.last); p++ {
			switch upper := 2*(p-int(s.first)) >= int(s.last)-int(s.first); {
			case s.skip.has(uint16(p)):
			case !upper:
				below = append([]uint16{uint16(p)}, below...)
			case p > int(last) || last > s.last:
				behind = append(behind, uint16(p))
			default:
				before = append(before, uint16(p))
			}
		}
		want := slices.Concat(behind, before, below)
		if got := slices.Collect(s.choices(last)); !slices.Equal(got, want) {
			t.Fatalf("%d-%d after %d: %v, want %v", s.first, s.last, last, got, want)
		}
	})
}

// settings writes what a Manager reads of /proc/sys and returns the root.
func settings(t *testing.T, portRange, reserved string) string {
	t.Helper()
	root := t.TempDir()
	for path, value := range map[string]string{
		"net/ipv4/ip_local_port_range":     portRange,
		"net/ipv4/ip_local_reserved_ports": reserved,
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestEphemeralWithoutFilesIsTheKernelsDefault(t *testing.T) {
	s, err := ephemeral(t.TempDir())
	if err != nil || s.first != 32768 || s.last != 60999 {
		t.Errorf("%v %v", s, err)
	}
}

func TestEphemeralNamesTheFileItCantOpen(t *testing.T) {
	root := settings(t, "1000 2000", "")
	file := filepath.Join(root, "net/ipv4/ip_local_reserved_ports")
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := ephemeral(root); !errors.Is(err, syscall.EISDIR) || !strings.HasPrefix(err.Error(), "ip_local_reserved_ports: ") {
		t.Error(err)
	}
}

func TestEphemeralNamesTheFileItCantParse(t *testing.T) {
	_, err := ephemeral(settings(t, "1000 2000", "1;2"))
	if want := `ip_local_reserved_ports: "1;2" is not a port number`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
