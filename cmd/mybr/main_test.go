package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/plugin"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "mybr-cmd-")
	if err != nil {
		panic(err)
	}
	for _, entry := range os.Environ() { // the tests say what the environment is
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, envPrefix) {
			os.Unsetenv(name)
		}
	}
	os.Setenv("DOCKER_HOST", "unix:///nowhere") // this machine's is none of theirs
	time.Local = time.UTC                       // so that golden files are the same everywhere
	binary = filepath.Join(dir, "mybr")
	build := exec.Command("go", "build", "-o", binary, "-ldflags", "-X main.version=v1.2.3 -X main.commit=0123abc", ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s\n%v\n", out, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

const testWithin = 20 * time.Second

// sandboxed returns a command that runs args where it can't touch this machine: with
// /run and /var/lib of its own and, with `-n` among flags, a network namespace of its
// own. It is killed with the test. environ is the whole environment beside PATH.
func sandboxed(t *testing.T, flags, environ, args []string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that forks
	if !slices.Contains(flags, "-n") && namespace(t, "/proc/thread-self/ns/net") == namespace(t, "/proc/self/ns/net") {
		t.Fatal("the program would run in this machine's own network namespace: call nettest.New first")
	}
	const private = `mount -t tmpfs none /run && mount -t tmpfs none /var/lib && exec "$@"`
	full := append(append([]string{"-m"}, flags...), append([]string{"sh", "-c", private, "sh"}, args...)...)
	ctx, cancel := context.WithTimeout(context.Background(), 9*testWithin)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "unshare", full...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	return cmd
}

func namespace(t *testing.T, path string) string {
	t.Helper()
	ns, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// execute runs the program to its end.
func execute(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := sandboxed(t, []string{"-n"}, environ, append([]string{binary}, args...))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestMisuse(t *testing.T) {
	const levels = "panic, fatal, error, warning, info, debug, trace"
	for _, c := range []struct {
		env  string
		args string
		want string
	}{
		{"", "sevre", `unknown command "sevre" for "mybr": is serve meant?`},
		{"", "statuss", `unknown command "statuss" for "mybr": is status meant?`},
		{"", "zzzzzz", `unknown command "zzzzzz" for "mybr"`},
		{"", "explain web", `want two arguments, and there is one: mybr explain [flags] SRC DST[:PORT][/PROTO]`},
		{"", "explain a b c", `want two arguments, and there are 3: mybr explain [flags] SRC DST[:PORT][/PROTO]`},
		{"", "compose", `want one argument, and there is none: mybr compose [flags] FILE`},
		{"", "network inspect", `want an argument or more, and there is none: mybr network inspect [flags] NETWORK...`},
		{"", "serve now", `mybr serve takes no arguments, and there is "now"`},
		{"", "help sevre", `unknown command "sevre" for "mybr": is serve meant?`},
		{"", "help serve now", `unknown command "now" for "mybr serve"`},
		{"", "serve --nmae x", `unknown flag: --nmae`},
		{"", "--name x", `unknown flag: --name`},
		{"", "serve --name", `flag needs an argument: --name`},
		{"", "serve -x", `unknown shorthand flag: 'x' in -x`},
		{"", "serve --name=", `invalid argument "" for "--name" flag: want a file name of 1 to 64 bytes without blanks`},
		{"", "serve --name ..", `invalid argument ".." for "--name" flag: want a file name of 1 to 64 bytes without blanks`},
		{"", "serve --name a/b", `invalid argument "a/b" for "--name" flag: want a file name of 1 to 64 bytes without blanks`},
		{"", "serve --plugin-dir plugins", `invalid argument "plugins" for "--plugin-dir" flag: want an absolute path`},
		{"", "serve --state-dir=", `invalid argument "" for "--state-dir" flag: want an absolute path`},
		{"", "serve --run-dir .", `invalid argument "." for "--run-dir" flag: want an absolute path`},
		{"", "serve --sysctl-root sys", `invalid argument "sys" for "--sysctl-root" flag: want an absolute path`},
		{"", "serve --firewall pf", `invalid argument "pf" for "--firewall" flag: want one of auto, iptables, nftables`},
		{"", "serve --allow-direct-routing=perhaps", `invalid argument "perhaps" for "--allow-direct-routing" flag: want true or false`},
		{"", "serve --accept-fwmark red", `invalid argument "red" for "--accept-fwmark" flag: want VALUE or VALUE/MASK, numbers of 32 bits such as 0x100/0xff00`},
		{"", "serve --accept-fwmark 3/1", `invalid argument "3/1" for "--accept-fwmark" flag: 0x3 has bits outside of the mask 0x1, so no packet can have it`},
		{"", "serve --resync-interval 5", `invalid argument "5" for "--resync-interval" flag: want 0, or a duration of at least a second such as 90s or 5m`},
		{"", "serve --resync-interval 10ms", `invalid argument "10ms" for "--resync-interval" flag: want 0, or a duration of at least a second such as 90s or 5m`},
		{"", "serve --resync-interval=-5m", `invalid argument "-5m" for "--resync-interval" flag: want 0, or a duration of at least a second such as 90s or 5m`},
		{"", "serve --log-level loud", `invalid argument "loud" for "--log-level" flag: want one of ` + levels},
		{"", "serve --address-quarantine 60", `invalid argument "60" for "--address-quarantine" flag: want a time from 0 to 24h0m0s, such as 1m0s`},
		{"", "serve --address-quarantine -1s", `invalid argument "-1s" for "--address-quarantine" flag: want a time from 0 to 24h0m0s, such as 1m0s`},
		{"MYBR_ADDRESS_QUARANTINE=25h", "serve", `invalid argument "25h" in environment variable MYBR_ADDRESS_QUARANTINE (--address-quarantine): want a time from 0 to 24h0m0s, such as 1m0s`},
		{"", "serve --log-format xml", `invalid argument "xml" for "--log-format" flag: want one of text, json`},
		{"", "serve --address-pool base=10.0.0.0/8", `invalid argument "base=10.0.0.0/8" for "--address-pool" flag: address pool "base=10.0.0.0/8": size is missing: want base=SUBNET,size=BITS`},
		{"", "docker-proxy --listen tcp://127.0.0.1:2375", `invalid argument "tcp://127.0.0.1:2375" for "--listen" flag: want unix:///PATH: only unix sockets, with an absolute path`},
		{"", "docker-proxy --docker /var/run/docker.sock", `invalid argument "/var/run/docker.sock" for "--docker" flag: want unix:///PATH: only unix sockets, with an absolute path`},
		{"", "docker-proxy --group a:b", `invalid argument "a:b" for "--group" flag: want the name or number of a group`},
		{"MYBR_LISTEN=unix://x", "docker-proxy", `invalid argument "unix://x" in environment variable MYBR_LISTEN (--listen): want unix:///PATH: only unix sockets, with an absolute path`},
		{"MYBR_DOCKER=none", "docker-proxy", `invalid argument "none" in environment variable MYBR_DOCKER (--docker): docker-proxy can't do without Docker, as other commands can: want unix:///PATH`},
		{"", "docker-proxy ps", `mybr docker-proxy takes no arguments, and there is "ps"`},
		{"", "ports --name x", `unknown flag: --name`},
		{"", "status all", `mybr status takes no arguments, and there is "all"`},
		{"", "version --long", `unknown flag: --long`},
		{"", "network lss", `unknown command "lss" for "mybr network": is ls meant?`},
		{"", "network ls all", `mybr network ls takes no arguments, and there is "all"`},
		{"", "help network lss", `unknown command "lss" for "mybr network": is ls meant?`},
		{"", "ports -o yaml", `invalid argument "yaml" for "-o, --output" flag: want one of text, json`},
		{"", "ports --docker tcp://192.0.2.1:2375", `invalid argument "tcp://192.0.2.1:2375" for "--docker" flag: want unix:///PATH, or none`},
		{"MYBR_OUTPUT=yaml", "pool ls", `invalid argument "yaml" in environment variable MYBR_OUTPUT (--output): want one of text, json`},
		{"MYBR_DOCKER=ssh://host", "network ls", `invalid argument "ssh://host" in environment variable MYBR_DOCKER (--docker): want unix:///PATH, or none`},
		{"MYBR_LOG_LEVEL=loud", "serve", `invalid argument "loud" in environment variable MYBR_LOG_LEVEL (--log-level): want one of ` + levels},
		{"MYBR_FIREWALL=pf", "serve", `invalid argument "pf" in environment variable MYBR_FIREWALL (--firewall): want one of auto, iptables, nftables`},
		{"MYBR_RUN_DIR=run", "ports", `invalid argument "run" in environment variable MYBR_RUN_DIR (--run-dir): want an absolute path`},
		{"MYBR_ADDRESS_POOL=base=10.0.0.0/8,size=24 x", "serve", `invalid argument "x" in environment variable MYBR_ADDRESS_POOL (--address-pool): address pool "x": field "x" is unknown: want base=SUBNET,size=BITS`},
		{"MYBR_STATEDIR=/x", "serve", `unknown environment variable MYBR_STATEDIR`},
		{"MYBR_HELP=true", "status", `unknown environment variable MYBR_HELP`},
		{"MYBR_LOG_LEVEL=loud", "serve --log-level louder", `invalid argument "louder" for "--log-level" flag: want one of ` + levels},
	} {
		t.Run(c.env+" "+c.args, func(t *testing.T) {
			code, stdout, stderr := execute(t, []string{c.env}, strings.Fields(c.args)...)
			if code != exitUsage || stdout != "" || stderr != "mybr: "+c.want+"\n" {
				t.Errorf("exit %d, stdout %q, stderr\n%swant 2 and\nmybr: %s", code, stdout, stderr, c.want)
			}
		})
	}
}

func TestFailuresAreOneLine(t *testing.T) {
	dir := t.TempDir()
	for _, command := range []string{"status", "status --diff", "network ls", "network inspect x", "endpoint ls", "ports", "pool ls", "events", "sync", "topology", "backup"} {
		code, stdout, stderr := execute(t, nil, append(strings.Fields(command), "--run-dir", dir)...)
		want := "mybr: mybr is not running: no process listens on " + dir + "/mybr.sock (mybr doctor says how to start it)\n"
		if code != exitFailed || stdout != "" || stderr != want {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want %q", command, code, stdout, stderr, want)
		}
	}
}

// What keeps the proxy from listening is a failure that names it.
func TestDockerProxyFails(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]string{
		"--listen unix://" + dir + "/a.sock --docker unix://" + dir + "/a.sock": "listen on " + dir + "/a.sock: that is Docker's own socket: want another path",
		"--listen unix://" + dir + "/b.sock --group no-such-group":              `group "no-such-group": group: unknown group no-such-group`,
	} {
		code, stdout, stderr := execute(t, nil, append([]string{"docker-proxy"}, strings.Fields(args)...)...)
		if code != exitFailed || stdout != "" || stderr != "mybr: "+want+"\n" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want %q", args, code, stdout, stderr, want)
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := execute(t, []string{"MYBR_WHATEVER=x"}, "version")
	want := fmt.Sprintf("version: v1.2.3\ncommit: 0123abc\ngo: %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("exit %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
	}
}

// The environment gives way to flags, the default to the environment.
func TestFlagBeforeVariableBeforeDefault(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		args    []string
		want    map[string]string

		defaults bool // nobody has said what these are
	}{
		{name: "defaults", defaults: true, want: map[string]string{
			"name": "mybr", "plugin-dir": "/run/docker/plugins", "state-dir": "/var/lib/mybr", "run-dir": "/run/mybr",
			"firewall": "auto", "sysctl-root": "/proc/sys", "log-level": "info", "log-format": "text",
			"allow-direct-routing": "false", "accept-fwmark": "", "address-quarantine": "1m0s", "resync-interval": "5m0s", "spoof": "refuse",
		}},
		{name: "variables", environ: []string{
			"MYBR_NAME=n", "MYBR_PLUGIN_DIR=/p", "MYBR_STATE_DIR=/s", "MYBR_RUN_DIR=/r",
			"MYBR_FIREWALL=iptables", "MYBR_SYSCTL_ROOT=/y", "MYBR_LOG_LEVEL=debug", "MYBR_LOG_FORMAT=json",
			"MYBR_ALLOW_DIRECT_ROUTING=1", "MYBR_ACCEPT_FWMARK=256/0xff00", "MYBR_ADDRESS_QUARANTINE=0", "MYBR_RESYNC_INTERVAL=90s", "MYBR_SPOOF=refuse",
		}, want: map[string]string{
			"name": "n", "plugin-dir": "/p", "state-dir": "/s", "run-dir": "/r",
			"firewall": "iptables", "sysctl-root": "/y", "log-level": "debug", "log-format": "json",
			"allow-direct-routing": "true", "accept-fwmark": "0x100/0xff00", "address-quarantine": "0s", "resync-interval": "1m30s", "spoof": "refuse",
		}},
		{name: "nothing is watched", args: []string{"--resync-interval", "0"}, want: map[string]string{"resync-interval": "0s"}},
		{name: "a switch", args: []string{"--allow-direct-routing", "--accept-fwmark=0x1"}, want: map[string]string{"allow-direct-routing": "true", "accept-fwmark": "0x1"}},
		{name: "flags", environ: []string{"MYBR_NAME=n", "MYBR_STATE_DIR=not checked"}, args: []string{"--name", "f", "--state-dir=/f"},
			want: map[string]string{"name": "f", "state-dir": "/f"}},
		{name: "a flag with the default's value", environ: []string{"MYBR_NAME=n"}, args: []string{"--name=mybr"}, want: map[string]string{"name": "mybr"}},
		{name: "empty variables", defaults: true, environ: []string{"MYBR_NAME=", "MYBR_LOG_LEVEL="}, want: map[string]string{"name": "mybr", "log-level": "info"}},
		{name: "others' variables", defaults: true, environ: []string{"MYBRIDGE=1", "XMYBR_NAME=x", "mybr_name=x"}, want: map[string]string{"name": "mybr"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := serveCommand(t, c.args)
			if err := fromEnvironment(cmd, c.environ); err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				f := cmd.Flags().Lookup(name)
				if have := f.Value.String(); have != want {
					t.Errorf("%s is %q, want %q", name, have, want)
				}
				if f.Changed == c.defaults {
					t.Errorf("whether somebody has said what %s is: %t", name, f.Changed)
				}
			}
		})
	}
}

func TestAddressPools(t *testing.T) {
	for _, c := range []struct {
		variable string
		args     []string
		want     string
	}{
		{"", nil, "[]"},
		{"base=10.0.0.0/8,size=24", nil, "[{10.0.0.0/8 24}]"},
		{" base=10.0.0.0/8,size=24\n\tbase=192.168.0.0/16,size=26 ", nil, "[{10.0.0.0/8 24} {192.168.0.0/16 26}]"},
		{"base=10.0.0.0/8,size=24", []string{"--address-pool", "base=172.16.0.0/12,size=20", "--address-pool=base=10.9.0.0/16,size=30"},
			"[{172.16.0.0/12 20} {10.9.0.0/16 30}]"},
	} {
		cmd := serveCommand(t, c.args)
		if err := fromEnvironment(cmd, []string{"MYBR_ADDRESS_POOL=" + c.variable}); err != nil {
			t.Fatal(err)
		}
		if have := fmt.Sprint(poolsOf(cmd)); have != c.want {
			t.Errorf("variable %q, flags %q: %s, want %s", c.variable, c.args, have, c.want)
		}
	}
}

func serveCommand(t *testing.T, args []string) *cobra.Command {
	t.Helper()
	cmd, _, err := newRoot().Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// Every flag's help names its variable.
func TestHelpNamesVariables(t *testing.T) {
	for c := range below(newRoot()) {
		if top, _, _ := strings.Cut(strings.TrimPrefix(c.CommandPath(), "mybr "), " "); !c.Runnable() || top == "completion" || top == "help" {
			continue // cobra's
		}
		command := strings.TrimPrefix(c.CommandPath(), "mybr ")
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append(strings.Fields(command), "--help"), &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Fatalf("%s: exit %d, stderr %q", command, code, stderr.String())
		}
		for line := range strings.Lines(stdout.String()) {
			_, flag, is := strings.Cut(line, "  --")
			if _, letter, ok := strings.Cut(line, ", --"); ok {
				flag, is = letter, true
			}
			if !is || strings.HasPrefix(flag, "help") {
				continue
			}
			name, _, _ := strings.Cut(flag, " ")
			if want := "[" + variable(name) + "]"; !strings.Contains(line, want) {
				t.Errorf("%s --%s: no %s in %q", command, name, want, line)
			}
		}
	}
}

func poolsOf(cmd *cobra.Command) any {
	return *cmd.Flags().Lookup("address-pool").Value.(list[plugin.AddressPool]).to
}
