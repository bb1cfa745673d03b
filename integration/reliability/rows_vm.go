package reliability

func init() {
	const pkg = "integration/vm"
	add(
		Row{Fault: "a machine with mybr's package is rebooted", Kind: Process, Test: "TestBoots", Pkg: pkg},
		Row{Fault: "a machine's power is cut", Kind: Storage, Test: "TestBoots", Pkg: pkg},
		Row{Fault: "a machine's power is cut while networks and containers come and go", Kind: Storage, Test: "TestBoots", Pkg: pkg},
	)
}
