package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/reliability"
)

// What is no request is answered with an error or with the end of the connection. It costs
// nothing that stays, and calls are answered as before.
func TestGarbage(t *testing.T) {
	reliability.Try(t, "what is sent is no request", func() time.Duration {
		const length = "Host:\r\nContent-Length: 2\r\n"
		garbage := map[string]string{
			"bytes":               "\x00\x01\xff\xfe garbage\r\n\r\n",
			"TLS":                 "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
			"HTTP/2":              "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			"HTTP/0.9":            "GET /\r\n",
			"no host":             "POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
			"two hosts":           "POST /x HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}",
			"two lengths":         "POST /x HTTP/1.1\r\n" + length + "Content-Length: 3\r\n\r\n{}",
			"length and chunks":   "POST /x HTTP/1.1\r\n" + length + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"negative length":     "POST /x HTTP/1.1\r\nHost:\r\nContent-Length: -1\r\n\r\n{}",
			"endless length":      "POST /x HTTP/1.1\r\nHost:\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
			"wrong chunk":         "POST /x HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
			"unknown coding":      "POST /x HTTP/1.1\r\nHost:\r\nTransfer-Encoding: gzip\r\n\r\n{}",
			"NUL in a header":     "POST /x HTTP/1.1\r\nHost:\r\nX: \x00\r\n\r\n",
			"large header":        "POST /x HTTP/1.1\r\nHost:\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
			"many headers":        "POST /x HTTP/1.1\r\nHost:\r\n" + strings.Repeat("X: y\r\n", 1<<17) + "\r\n",
			"long path":           "POST /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost:\r\n\r\n",
			"absolute path":       "POST http://elsewhere/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n[]",
			"dots":                "POST /../../x HTTP/1.1\r\n" + length + "\r\n{}",
			"escapes":             "POST /%0d%0a%1b[2J HTTP/1.1\r\n" + length + "\r\n{}",
			"CONNECT":             "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
			"upgrade":             "GET /x HTTP/1.1\r\nHost:\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
			"pipelined":           strings.Repeat("POST /unknown HTTP/1.1\r\n"+length+"\r\n{}", 1000),
			"garbage behind":      "POST /unknown HTTP/1.1\r\n" + length + "Connection: keep-alive\r\n\r\n{}" + strings.Repeat("\x00", 1<<20),
			"unknown expectation": "POST /x HTTP/1.1\r\n" + length + "Expect: 200-ok\r\n\r\n",
		}
		l := defaultLimits()
		l.header, l.body = time.Second, time.Second // what is no end of a request is waited for
		bothSockets(t, l, func(t *testing.T, s *server, ask func() error) {
			before := allCosts(t)
			for name, text := range garbage {
				begun := time.Now()
				conn := s.dial()
				_, _ = io.WriteString(conn, text) // it may be closed before it is all written
				if answer := readAll(t, conn); answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 4") && !strings.HasPrefix(answer, "HTTP/1.1 5") &&
					!strings.HasPrefix(answer, "HTTP/1.0 4") && !strings.HasPrefix(answer, "HTTP/1.1 307") {
					t.Errorf("%s: %.200q", name, answer)
				}
				conn.Close()
				if took := time.Since(begun); took >= testWithin {
					t.Errorf("%s: the connection stays open", name)
				}
				if err := ask(); err != nil {
					t.Errorf("after %s: %v", name, err)
				}
			}
			before.within(t)
			if strings.ContainsAny(s.log.String(), "\x1b\x00") {
				t.Error("the log has control characters")
			}
			for line := range strings.Lines(s.log.String()) {
				if len(line) > longestError {
					t.Errorf("a line of the log has %d bytes: %.100s", len(line), line)
				}
			}
		})
		return 0
	})
}

// A request that ends after any of its bytes, in its header or in its body, changes nothing
// and leaves nothing behind.
func TestEachPrefixOfEachRequest(t *testing.T) {
	reliability.Try(t, "a request is cut at each byte", func() time.Duration {
		s := newStorm(t)
		s.socket += "2"
		s.startWithin(defaultLimits(), s.handler)
		before, have := allCosts(t), recorded(t, s.records)
		from := 0 // headers are alike
		for _, r := range sent(t) {
			header := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: plugin.moby.localhost\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\nAccept: %s\r\n\r\n",
				r.path, len(r.body), contentType)
			if r.body == "" {
				continue // it is whole with its header
			}
			for n := from; n < len(header)+len(r.body); n++ {
				s.sendRaw((header + r.body)[:n]).Close()
			}
			from = len(header)
			before.within(t)
			if now := recorded(t, s.records); !reflect.DeepEqual(now, have) {
				t.Errorf("%s: a part of it left %+v", r.path, now)
			}
			for _, e := range s.log.entries(t) {
				if e["msg"] == "call" {
					t.Fatalf("a part of a request was carried out: %v", e)
				}
			}
			s.log.reset()
		}
		return 0
	})
}

// Requests that are as bad as JSON can be are refused with an error that names what is
// wrong, or carried out, within a time that is no threat, and cost nothing that stays.
func TestExtremeBodies(t *testing.T) {
	s := newStorm(t)
	s.must("/NetworkDriver.CreateNetwork", fmt.Sprintf(`{"NetworkID":%q,"IPv4Data":[{"Pool":"10.0.0.0/24","Gateway":"10.0.0.1/24"}]}`, networkID(0)))
	ids := fmt.Sprintf(`"NetworkID":%q,"EndpointID":%q`, networkID(0), networkID(1))
	s.must("/NetworkDriver.CreateEndpoint", "{"+ids+`,"Interface":{"Address":"10.0.0.2/24"}}`)
	repeated := func(text string, n int) string { return strings.TrimSuffix(strings.Repeat(text, n), ",") }
	numbered := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	create := `{"NetworkID":"a","Options":{"com.docker.network.generic":{%s}},"IPv4Data":[{"Pool":"10.1.0.0/24","Gateway":"10.1.0.1/24","AuxAddresses":{%s}}]}`
	pec := "{" + ids + `,"Options":{"com.docker.network.portmap":[%s]}}`
	have, before := recorded(t, s.records), allCosts(t)
	for name, c := range map[string]struct{ call, body, want string }{
		"deep arrays":          {"NetworkDriver.CreateNetwork", `{"Options":` + strings.Repeat(`[`, 1<<20), "exceeded max depth"},
		"deep objects":         {"NetworkDriver.CreateNetwork", strings.Repeat(`{"Options":`, 1<<17), "exceeded max depth"},
		"deep as allowed":      {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"x":` + strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000) + `}}`, "ipv4 pool is empty"},
		"key twice":            {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"b":1,"b":2}}`, `the request has the key "b" twice in one object`},
		"key twice, escaped":   {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"b":1,"\u0062":2}}`, `the request has the key "b" twice in one object`},
		"field twice":          {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","networkid":"b"}`, `the request has the key "networkid" twice in one object`},
		"address twice":        {"NetworkDriver.CreateEndpoint", "{" + ids + `,"Interface":{"Address":"10.0.0.2/24","address":"10.0.0.3/24"}}`, `the request has the key "address" twice in one object`},
		"pool twice":           {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","IPv4Data":[{"Pool":"10.1.0.0/24","pool":"10.2.0.0/24"}]}`, `the request has the key "pool" twice in one object`},
		"options differ":       {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"b":{"c":1,"C":2},"B":2}}`, "ipv4 pool is empty"},
		"pools twice":          {"NetworkDriver.CreateNetwork", `{"IPv4Data":[{"Pool":"10.0.0.0/24","Gateway":"10.0.0.1/24"}],"IPv4Data":[{"Pool":"10.1.0.0/24"}]}`, `the request has the key "IPv4Data" twice in one object`},
		"number without range": {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"b":1e999}}`, `the request's Options: want float64, have number 1e999`},
		"port without range":   {"NetworkDriver.ProgramExternalConnectivity", fmt.Sprintf(pec, `{"Proto":6,"Port":65536}`), "Port: have number 65536, want a number from 0 to 65535"},
		"negative port":        {"NetworkDriver.ProgramExternalConnectivity", fmt.Sprintf(pec, `{"Proto":6,"Port":-1}`), "Port: have number -1, want a number from 0 to 65535"},
		"broken port":          {"NetworkDriver.ProgramExternalConnectivity", fmt.Sprintf(pec, `{"Proto":6,"Port":80.5}`), "Port: have number 80.5, want a number from 0 to 65535"},
		"endless arrays":       {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"x":[` + repeated("[],", 1<<18) + `]}}`, "ipv4 pool is empty"},
		"endless objects":      {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"x":[` + repeated("{},", 1<<18) + `]}}`, "ipv4 pool is empty"},
		"endless options":      {"NetworkDriver.CreateNetwork", fmt.Sprintf(create, numbered(`"o%d":"",`, 100000), ""), "option o0 is not known"},
		"endless pools":        {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","IPv4Data":[` + repeated(`null,`, 1<<17) + `]}`, "there are 131072 IPv4 subnets"},
		"endless auxiliary":    {"NetworkDriver.CreateNetwork", fmt.Sprintf(create, `"no":"x"`, numbered(`"a%[1]d":"10.%[1]d",`, 50000)), "option no is not known"},
		"endless routes":       {"NetworkDriver.CreateNetwork", fmt.Sprintf(create, `"mybr.routes":"`+numbered("fd00:%x::/64,", 50000)+`"`, ""), "mybr.routes"},
		"endless trusted":      {"NetworkDriver.CreateNetwork", fmt.Sprintf(create, `"com.docker.network.bridge.trusted_host_interfaces":"`+numbered("e%d:", 100000)+`"`, ""), "trusted_host_interfaces"},
		"endless ports":        {"NetworkDriver.ProgramExternalConnectivity", fmt.Sprintf(pec, repeated(`{"Proto":6,"Port":80},`, 20000)+`,{"Proto":1,"Port":80}`), "protocol 1 has no ports that can be published"},
		"endless sandbox":      {"NetworkDriver.Join", "{" + ids + `,"SandboxKey":"` + strings.Repeat("x", 1_000_000) + `"}`, "the sandbox key"},
		"endless space":        {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","IPv4Data":[{"AddressSpace":"` + strings.Repeat("x", 1_000_000) + `","Pool":"10.1.0.0/24","Gateway":"10.1.0.1/24"}]}`, "address space"},
		"endless pool ID":      {"IpamDriver.RequestAddress", `{"PoolID":"` + strings.Repeat("x", 1_000_000) + `"}`, "is none of mybr's"},
		"endless address":      {"IpamDriver.RequestAddress", `{"PoolID":"x","Address":"` + strings.Repeat("x", 1_000_000) + `"}`, "is not an address"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := s.post("/"+c.call, c.body)
			var said struct{ Err string }
			if err := json.Unmarshal([]byte(answer), &said); err != nil {
				t.Fatal(err)
			}
			if status < 400 || !strings.Contains(said.Err, c.want) || len(said.Err) > longestError+10 {
				t.Errorf("%d %.500s\nwant %s", status, said.Err, c.want)
			}
			if now := recorded(t, s.records); !reflect.DeepEqual(now, have) {
				t.Errorf("it left %+v", now)
			}
		})
	}
	before.within(t)
}

// Only root may connect: others have no right to write to the socket's file (unix(7)).
func TestOthersCanNotConnect(t *testing.T) {
	const variable = "TEST_CONNECT_TO"
	if path := os.Getenv(variable); path != "" {
		_, err := net.Dial("unix", path)
		fmt.Print(err)
		os.Exit(0)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	dir := t.TempDir()
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil && info.Mode()&0o001 == 0 {
			if err := os.Chmod(d, 0o755); err != nil { // so that the socket's own mode counts
				t.Fatal(err)
			}
		}
	}
	path := filepath.Join(dir, "mybr.sock")
	s, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestOthersCanNotConnect$")
	cmd.Env, cmd.Stdout = []string{variable + "=" + path}, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := cmd.Run(); err != nil || !strings.HasSuffix(out.String(), unix.EACCES.Error()) {
		t.Errorf("another user: %v, %s", err, &out)
	}
}

// A panic in an answer to the operator is an error, is logged, and ends nothing else.
func TestPanicForTheOperator(t *testing.T) {
	s := serve(t, nil)
	s.socket += "2"
	a := testAdmin(0)
	a.lastError = func() error { panic("out of luck") }
	s.startWithin(defaultLimits(), a.handler())
	for range 2 {
		resp, text, err := s.do(t.Context(), "GET", "/v1/status", "")
		if err != nil || resp.StatusCode != 500 || text != `{"error":"mybr crashed in this call (see its log): out of luck"}` {
			t.Errorf("%v %s", err, text)
		}
	}
	if resp, _, err := s.do(t.Context(), "GET", "/v1/published", ""); err != nil || resp.StatusCode != 200 {
		t.Errorf("after it: %v", err)
	}
	waitFor(t, func() bool { return strings.Count(s.log.String(), "TestPanicForTheOperator") >= 2 })
}
