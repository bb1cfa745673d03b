package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// client is a program that gets hello from the depot (guest depot) with a command, in an empty
// directory that is $HOME, too.
type client struct {
	name    string
	host    string // which it asks, of the depot's domain
	command string // with {BASE} for the URL of the depot by HTTPS, and {HTTP} for the other one
	short   bool   // make test plays it, too

	// unlisted is what it says when it may not reach its host, and hurry what has it say so soon:
	// some try again for minutes.
	unlisted string
	hurry    string
	// moved is what it says when its host, which it may reach, redirects it to one that it may not.
	moved string
}

const (
	depotDomain = "depot.example"
	elsewhereAt = "elsewhere.example" // where the depot redirects what is below /moved/ to
)

var clients = []client{
	{
		name: "curl", host: "www", short: true,
		command:  `curl -sSfL {BASE}/hello.txt`,
		unlisted: "Could not resolve host: www.depot.example",
		moved:    "Could not resolve host: elsewhere.example",
	},
	{
		name: "curl by HTTP", host: "www", short: true,
		command:  `curl -sSfL {HTTP}/hello.txt`,
		unlisted: "Could not resolve host: www.depot.example",
		moved:    "Could not resolve host: elsewhere.example",
	},
	{
		name: "git", host: "git", short: true,
		command:  `git clone -q {BASE}/git/hello.git && cat hello/hello.txt`,
		unlisted: "Could not resolve host: git.depot.example",
		moved:    "Could not resolve host: elsewhere.example",
	},
	{
		name: "pip", host: "pypi",
		command:  `pip install -q --target . --index-url {BASE}/simple hello && python3 -c 'import hello; print(hello.text)'`,
		hurry:    `export PIP_RETRIES=1`,
		unlisted: "Temporary failure in name resolution",
		moved:    "Temporary failure in name resolution",
	},
	{
		name: "npm", host: "npm",
		command:  `npm install --loglevel=error --no-audit --no-fund --registry {BASE}/npm/ hello && node -p 'require("hello")'`,
		hurry:    `export npm_config_fetch_retries=0`,
		unlisted: "getaddrinfo EAI_AGAIN npm.depot.example",
		moved:    "getaddrinfo EAI_AGAIN elsewhere.example",
	},
	{
		name: "go", host: "proxy",
		command:  `export GOPROXY={BASE}/go GOSUMDB=off GOFLAGS=-modcacherw && go mod init x && go get depot.example/hello && cat $(go list -m -f '{{.Dir}}' depot.example/hello)/hello.go`,
		unlisted: "lookup proxy.depot.example on 127.0.0.11:53: server misbehaving",
		moved:    "lookup elsewhere.example on 127.0.0.11:53: server misbehaving",
	},
	{
		name: "apt", host: "deb",
		command:  aptCommand("{BASE}"),
		unlisted: "Temporary failure resolving 'deb.depot.example'",
		moved:    "Temporary failure resolving 'elsewhere.example'",
	},
	{
		name: "apt by HTTP", host: "deb",
		command:  aptCommand("{HTTP}"),
		unlisted: "Temporary failure resolving 'deb.depot.example'",
		moved:    "Temporary failure resolving 'elsewhere.example'",
	},
}

func aptCommand(base string) string {
	return `rm -rf /etc/apt/sources.list* /var/lib/apt/lists/* && echo 'deb [trusted=yes] ` + base + ` deb/' >/etc/apt/sources.list &&` +
		` apt-get -qq -o APT::Update::Error-Mode=any update && apt-get -qq -y --reinstall install hello-depot >&2 && cat /usr/share/hello-depot/text`
}

// TestEgressClients has programs that get things from hosts by name do that from a container whose
// list has these hosts, each as it is: with no proxy variables, and no other certificates than those
// of the hosts' own authority. Without its host on the list each says what is wrong, and so it does
// when a listed host sends it to another one. That one could be reached: with it on the list all work.
func TestEgressClients(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	w := world.New(t, world.Config{Engine: world.OwnEngine, LANs: []string{secondLAN}})
	authorities := []string{"/run/depot.pem", "/run/elsewhere.pem"}
	both := func(addr, addr6 string) string { return addr + "," + addr6 }
	w.LANs[0].Start("guest", "zone", "*."+depotDomain+"="+both(world.LANAddr, world.LANAddr6), elsewhereAt+"="+both(secondLAN, secondLAN6))
	w.LANs[0].Start("guest", "depot", authorities[0], "files."+depotDomain, elsewhereAt, "*."+depotDomain)
	w.LANs[1].Start("guest", "depot", authorities[1], "files."+depotDomain, elsewhereAt, elsewhereAt)
	w.Docker("network", "create", "-d", "mybr", "-o", "mybr.egress=none", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
	w.Clients("app", authorities, "--net", "n0", "--dns", elsewhere)

	list := func(names ...string) {
		t.Helper()
		w.Host.Run("mybr", "network", "set", "n0", "mybr.egress="+strings.Join(names, ","))
	}
	run := func(c client, moved bool) world.Result {
		t.Helper()
		path := ""
		if moved {
			path = "/moved"
		}
		host := c.host + "." + depotDomain
		command := strings.NewReplacer("{BASE}", "https://"+host+path, "{HTTP}", "http://"+host+path).Replace(c.command)
		if c.hurry != "" {
			command = c.hurry + "; " + command
		}
		return w.DockerTry("exec", "app", "sh", "-c", "HOME=$(mktemp -d) && export HOME && cd $HOME && "+command)
	}
	const hello = "hello from the depot"
	works := func(what string, moved bool) {
		t.Helper()
		each(func(c client) {
			if r := run(c, moved); r.Code != 0 || !strings.Contains(r.Out, hello) {
				t.Errorf("%s, %s: %+v, want %q", what, c.name, r, hello)
			}
		})
	}
	says := func(what string, moved bool, want func(client) string) {
		t.Helper()
		each(func(c client) {
			r := run(c, moved)
			if r.Code == 0 || strings.Contains(r.Out, hello) || !strings.Contains(r.Out+r.Err, want(c)) {
				t.Errorf("%s, %s: %+v, want that it fails with %q", what, c.name, r, want(c))
			}
			t.Logf("%s, %s: %s", what, c.name, strings.TrimSpace(r.Err))
		})
	}
	list("*." + depotDomain)
	works("listed", false)
	says("sent to a host that is not listed", true, func(c client) string { return c.moved })
	list("*."+depotDomain, elsewhereAt)
	works("sent to a host that is listed", true)
	list(elsewhereAt)
	says("not listed", false, func(c client) string { return c.unlisted })
	if !world.Short() { // as the files of PyPI are at another name than its index
		list("pypi." + depotDomain)
		pip := clients[slices.IndexFunc(clients, func(c client) bool { return c.name == "pip" })]
		if r := run(pip, false); r.Code == 0 || !strings.Contains(r.Err, "host='files.depot.example'") {
			t.Errorf("the index alone is listed: %+v, want that it fails for files.depot.example", r)
		}
	}
	seen, err := denials(w, "n0")
	if err != nil {
		t.Fatal(err)
	}
	each(func(c client) {
		if key := fmt.Sprintf("app dns %s.%s 0", c.host, depotDomain); !strings.HasPrefix(seen[key], "refused ") {
			t.Errorf("%s: mybr denied has %v, want %s in it", c.name, seen, key)
		}
	})
}

// each calls f with the clients that are played.
func each(f func(client)) {
	for _, c := range clients {
		if c.short || !world.Short() {
			f(c)
		}
	}
}
