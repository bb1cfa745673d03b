// Package parity plays every scenario of one table twice, on Docker's built-in bridge
// driver and on mybr, with each of several engines, and compares what a user can
// observe. Nobody writes down what to expect: the built-in driver says it.
//
// # A scenario
//
// A scenario is a row of a table in a scenarios_*_test.go file, and scenarios_test.go
// lists the tables:
//
//	{name: "publish/tcp fixed port", feature: "Published ports", play: func(s *stage) {
//		s.network("n0", "--subnet", "172.18.0.0/16")
//		s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
//		s.idle("ben", "--net", "n0")
//		s.reach(
//			from("lan", "tcp 192.0.2.2:8088", "tcp {web}:80"),
//			from("host", "tcp 127.0.0.1:8088"),
//			from("ben", "tcp 192.0.2.2:8088", "ping {web}"))
//		s.inside("web")
//	}},
//
// Each method of the stage adds facts: a key, and what was observed, in words. A docker
// command is a fact too, its exit code and its message; one that fails doesn't end
// the play, and what can't be observed for it is a fact as well. Containers and
// networks are removed at the end of the play, and what then is left on the host is
// compared as well: s.left is called for each scenario. What the play changes otherwise
// it undoes with s.on and s.afterwards.
//
// Facts are the same in each run: IDs, random MAC addresses, names of veth links and
// ephemeral ports are replaced by words (normal_test.go). Of messages it is asked that
// mybr's contains the built-in driver's, without the prefixes that dockerd puts before
// both.
//
// A scenario that says nothing else shares its two worlds with others, the host at
// 192.0.2.2 and 2001:db8::2 and two LAN hosts, "lan" at 192.0.2.9 and 2001:db8::9, and
// "lan2" at .10 and ::10. One with its own world.Config, because it needs flags or
// restarts something, has two worlds for itself, which takes some seconds more.
//
// # Where the two differ
//
// Then the scenario says so, with mybr's exact value and the reason:
//
//	differs: []difference{{key: "docker port *", want: "ok: ", engines: "20.10 26.1",
//		why: "the protocol has no way to tell Docker of the ports"}},
//
// Those that any scenario may show, such as how MAC addresses are chosen, are declared
// once, in general.
//
// An unexplained difference fails the test, and so does a declared one that no longer
// occurs. A fact that one of the two doesn't have is "absent". A scenario with since
// is offered by the built-in driver from that engine on; on older engines what mybr's
// containers reach, and which clients reach them, is compared with what the built-in driver's do
// on the newest. A scenario with
// needs isn't played on older engines, for Docker's own part of it isn't there. With
// -short, as in make test, those marked full are left out, and on older engines all but
// the first of each feature (inShort).
//
// # What mybr explain says
//
// TestExplain plays the scenarios on mybr alone, and compares what package explain predicts of
// each probe with how it fares, and of each packet of an attack that it can be asked about (see
// shot.query and field.question) with whether it arrives, and from whom. A prediction is right,
// or says that the packet leaves the host or that it can't be told, or else it is a miss, which
// fails the test. How many there are of each is kept in testdata/explain.json, from which
// docs/troubleshooting.md has its table.
//
// # Running it
//
//	go test ./integration/parity -run 'TestParity/28.5/publish/(tcp|range)' -v  # these alone, facts shown
//	MYBR_PARITY_DRIVER=bridge go test ... -v                                    # one driver alone
//	go test ./integration/parity -short -run TestParity                         # what make test plays
//	MYBR_PARITY_ENGINES=28.5 go test ./integration/parity -run 'TestExplain$' -v # predictions, on one engine
//	MYBR_PARITY_ENGINES=20.10,26.1,28.5 go test ./integration/parity -update -timeout 3h
//
// The last writes testdata/ENGINE.json, the summaries, testdata/explain.json, and what is
// generated from these files: docs/parity.md, and a table in docs/troubleshooting.md. Without
// -update all are compared.
package parity
