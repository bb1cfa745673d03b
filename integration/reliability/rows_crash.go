package reliability

func init() {
	const pkg = "integration/crash"
	add(
		Row{Fault: "the disk of the state file is full, and has room again", Kind: Storage, Test: "TestFullDisk", Pkg: pkg},
		Row{Fault: "the disk of the state file is read-only when mybr starts, and can be written again", Kind: Storage, Test: "TestReadOnlyDisk", Pkg: pkg},
		Row{Fault: "mybr is killed between two effects of a call or of its start, and started again", Kind: Process, Test: "TestCrash", Pkg: pkg},
		Row{Fault: "an effect fails, once or as long as the call lasts: a write, a netlink message, a command", Kind: Process, Test: "TestFail", Pkg: pkg},
		Row{Fault: "iptables-restore exits with 4, once or all the time", Kind: Firewall, Test: "TestIptablesBusy", Pkg: pkg},
		Row{Fault: "another program holds the lock of the legacy iptables", Kind: Firewall, Test: "TestXtablesLock", Pkg: pkg},
		Row{Fault: "the power is cut behind an answer: what it tells is on the disk", Kind: Storage, Test: "TestPowerLoss", Pkg: pkg},
	)
}
