package reliability

import "time"

// undisturbed bounds the interruption of what goes on by itself. It is none but a loaded
// machine's delay: a server in a container gets a smaller share of the processors than the
// programs outside (cgroups(7)), and dockerd's start needs them for seconds.
const undisturbed = 3 * time.Second

// servedAgain bounds the time until the process serves again what goes through it: the tests
// restart it up to 20 times, and look at the longest gap.
const servedAgain = 5 * time.Second

// dockerRestarted bounds the time until a container that Docker restarts answers again. Nearly
// all of it is Docker's.
const dockerRestarted = 30 * time.Second

// portRetried bounds the time until a host port is served that another program had: the longest
// time between two tries, and a little.
const portRetried = 35 * time.Second

func init() {
	const (
		restarts = "TestDaemons/mybr_restarts"
		managed  = "TestDaemons/managed_upgraded"
		docker   = "TestDaemons/docker_restarts"
		engines  = "TestDaemons/two_engines"
	)
	add(
		Row{Fault: "mybr is killed 20 times (kill -9) while containers come and go: translated traffic", Kind: Process, Bound: undisturbed, Test: restarts},
		Row{Fault: "mybr is killed 20 times while containers come and go: traffic that it relays", Kind: Process, Bound: servedAgain, Test: restarts},
		Row{Fault: "mybr is restarted 10 times (SIGTERM) while containers come and go: translated traffic", Kind: Process, Bound: undisturbed, Test: restarts},
		Row{Fault: "mybr is restarted 10 times while containers come and go: traffic that it relays", Kind: Process, Bound: servedAgain, Test: restarts},
		Row{Fault: "mybr is upgraded in place, with systemd's socket, while containers come and go: translated traffic", Kind: Process, Bound: undisturbed, Test: "TestDaemons/mybr_upgraded"},
		Row{Fault: "mybr is upgraded in place while containers come and go: traffic that it relays", Kind: Process, Bound: servedAgain, Test: "TestDaemons/mybr_upgraded"},
		Row{Fault: "mybr is upgraded from the first schema of the state file", Kind: Process, Test: "TestDaemons/state_of_before"},
		Row{Fault: "a second mybr is started, of the same host and of another with the same state", Kind: Process, Bound: undisturbed, Test: "TestDaemons/second_mybr"},
		Row{Fault: "another program has the state file locked when mybr starts", Kind: Process, Bound: undisturbed, Test: "TestDaemons/state_file_locked"},
		Row{Fault: "another program takes a published host port while mybr is away, and ends: time until the port is served again", Kind: Process, Bound: portRetried, Test: "TestDaemons/host_port_taken"},
		Row{Fault: "containers and networks are removed (docker rm -f, network rm, network prune) while mybr is away", Kind: Process, Bound: undisturbed, Test: "TestDaemons/removed_while_away"},
		Row{Fault: "a container is started while mybr is away", Kind: Process, Bound: undisturbed, Test: "TestDaemons/started_while_away"},
		Row{Fault: "the managed plugin is upgraded (plugin disable -f, rm, create, enable): translated traffic", Kind: Process, Bound: undisturbed, Test: managed},
		Row{Fault: "the managed plugin is upgraded: traffic that it relays", Kind: Process, Bound: 10 * time.Second, Test: managed},

		Row{Fault: "dockerd is killed, with live-restore and the managed plugin, and started again", Kind: Daemons, Bound: undisturbed, Test: managed},
		Row{Fault: "dockerd is restarted, with live-restore and the managed plugin", Kind: Daemons, Bound: undisturbed, Test: managed},
		Row{Fault: "dockerd is killed and started again, with the managed plugin: first answer of a container that it restarts", Kind: Daemons, Bound: dockerRestarted, Test: "TestDaemons/managed_restarts"},
		Row{Fault: "dockerd is restarted, with the managed plugin: first answer of a container that it restarts", Kind: Daemons, Bound: dockerRestarted, Test: "TestDaemons/managed_restarts"},
		Row{Fault: "dockerd is killed, with live-restore, and started again", Kind: Daemons, Bound: undisturbed, Test: docker + "_live_restore"},
		Row{Fault: "dockerd is restarted, with live-restore", Kind: Daemons, Bound: undisturbed, Test: docker + "_live_restore"},
		Row{Fault: "dockerd 28.5 is killed, with live-restore, and started again", Kind: Daemons, Bound: undisturbed, Test: docker + "_live_restore_28.5"},
		Row{Fault: "dockerd 28.5 is restarted, with live-restore", Kind: Daemons, Bound: undisturbed, Test: docker + "_live_restore_28.5"},
		Row{Fault: "dockerd is killed and started again: first answer of a container that it restarts", Kind: Daemons, Bound: dockerRestarted, Test: docker},
		Row{Fault: "dockerd is restarted: first answer of a container that it restarts", Kind: Daemons, Bound: dockerRestarted, Test: docker},
		Row{Fault: "dockerd 28.5 is killed and started again: first answer of a container that it restarts", Kind: Daemons, Bound: dockerRestarted, Test: docker + "_28.5"},
		Row{Fault: "dockerd 28.5 is restarted: first answer of a container that it restarts", Kind: Daemons, Bound: dockerRestarted, Test: docker + "_28.5"},
		Row{Fault: "the host is booted: first answer of a container, from the start of mybr and dockerd on", Kind: Daemons, Bound: dockerRestarted, Test: "TestDaemons/reboot"},
		Row{Fault: "of two engines that use mybr, mybr is killed and started again", Kind: Daemons, Bound: undisturbed, Test: engines},
		Row{Fault: "of two engines that use mybr, one is killed and started again: traffic of the other", Kind: Daemons, Bound: undisturbed, Test: engines},
		Row{Fault: "of two engines that use mybr, the first is killed and started again: traffic of the second", Kind: Daemons, Bound: undisturbed, Test: engines},
	)
}
