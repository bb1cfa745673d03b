package reliability

func init() {
	const pkg = "integration/crash"
	add(
		Row{Fault: "the disk of the state file is full, and has room again", Kind: Storage, Test: "TestFullDisk", Pkg: pkg},
		Row{Fault: "the disk of the state file is read-only when mybr starts, and can be written again", Kind: Storage, Test: "TestReadOnlyDisk", Pkg: pkg},
		Row{Fault: "the power is cut behind an answer: what it tells is on the disk", Kind: Storage, Test: "TestPowerLoss", Pkg: pkg},
	)
}
