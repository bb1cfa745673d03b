package driver

import (
	"errors"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

func TestPortSpecs(t *testing.T) {
	for spec, want := range map[string]string{
		"80":                        "80/tcp",
		"80/udp":                    "80/udp",
		"8080:80":                   "8080:80/tcp",
		"8080:80/SCTP":              "8080:80/sctp",
		":80":                       "80/tcp",
		"0:80":                      "80/tcp",
		"127.0.0.1::80":             "127.0.0.1::80/tcp",
		"127.0.0.1:8080:80":         "127.0.0.1:8080:80/tcp",
		"[2001:db8::7]:8080:80":     "[2001:db8::7]:8080:80/tcp",
		"::1:8080:80":               "[::1]:8080:80/tcp",
		"80-82":                     "80/tcp 81/tcp 82/tcp",
		"8000-8002:80-82/udp":       "8000:80/udp 8001:81/udp 8002:82/udp",
		"8000-8002:80":              "8000-8002:80/tcp",
		"192.0.2.1:65534-65535:1-2": "192.0.2.1:65534:1/tcp 192.0.2.1:65535:2/tcp",
	} {
		entries, err := parsePortSpecs([]string{spec})
		var texts []string
		for _, e := range entries {
			texts = append(texts, e.String())
		}
		if have := strings.Join(texts, " "); err != nil || have != want {
			t.Errorf("%s: have %q, %v, want %q", spec, have, err, want)
		}
	}
	const port = "want a number from 1 to 65535, or a range such as 8000-8010"
	for spec, want := range map[string]string{
		"":                   `port "": the container port is missing`,
		"http":               `port "http": http is no container port: ` + port,
		"8080:":              `port "8080:": the container port is missing`,
		"8080:0":             `port "8080:0": 0 is no container port: ` + port,
		"8080:65536":         `port "8080:65536": 65536 is no container port: ` + port,
		"8080:+80":           `port "8080:+80": +80 is no container port: ` + port,
		"x:80":               `port "x:80": x is no host port: ` + port,
		"9-8:80":             `port "9-8:80": 9-8 is no host port: ` + port,
		"[::1]:80":           `port "[::1]:80": [::1] is no host port: ` + port,
		"8000-8002:80-81":    `port "8000-8002:80-81": 8000-8002:80-81 has 3 ports of the host for 2 of the container: want as many, or one of the container`,
		"8000:80-81":         `port "8000:80-81": 8000:80-81 has 1 ports of the host for 2 of the container: want as many, or one of the container`,
		"8080:80/icmp":       `port "8080:80/icmp": icmp is no protocol: want tcp, udp or sctp`,
		"localhost:8080:80":  `port "localhost:8080:80": host address: localhost (nil ip): want an IP address`,
		"[::1:8080:80":       `port "[::1:8080:80": [::1 is no address: want one such as 192.0.2.7 or [2001:db8::7]`,
		"[1.2.3.4]:8080:80":  `port "[1.2.3.4]:8080:80": [1.2.3.4] is no address: want one such as 192.0.2.7 or [2001:db8::7]`,
		"224.0.0.1:8080:80":  `port "224.0.0.1:8080:80": host address: 224.0.0.1 (invalid argument): want an address that a host can have`,
		"fe80::1%eth0:80:80": `port "fe80::1%eth0:80:80": host address: fe80::1%eth0 (nil ip): want an IP address`,
	} {
		_, err := parsePortSpecs([]string{"1:1", spec})
		wantErr(t, err, model.ErrInvalid, want)
	}
	_, err := parsePortSpecs(nil)
	wantErr(t, err, model.ErrInvalid, "no port is named: want [ADDRESS:]HOST:CONTAINER[/PROTOCOL], such as 8080:80")
	_, err = parsePortSpecs([]string{"1-65535", "1-65535", "1-65535", "1/udp"})
	wantErr(t, err, model.ErrInvalid, `port "1/udp": there are more than 196605 ports: a container has no more`)
}

// FuzzPortSpec reads any port. It is refused as the user's fault, or means what Docker could send.
func FuzzPortSpec(f *testing.F) {
	for _, spec := range []string{"80", "8080:80", "127.0.0.1:8000-8002:80-82/udp", "[::1]::80/sctp", "::1:1:1", "[", "]:", "::", "-", "1-:1", "0-0:1"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		entries, err := parsePortSpecs([]string{spec})
		if err != nil && !errors.Is(err, model.ErrInvalid) || err == nil && len(entries) == 0 {
			t.Fatalf("%v, %v", entries, err)
		}
		for _, e := range entries {
			if err := e.check(); err != nil {
				t.Errorf("%s: %v", e, err)
			}
			if again, err := parsePortSpecs([]string{e.String()}); err != nil || len(again) != 1 || again[0].String() != e.String() {
				t.Errorf("%s becomes %v, %v", e, again, err)
			}
		}
	})
}
