package reliability

func init() {
	add(
		Row{Fault: "the clock is set back while addresses rest", Kind: Storage, Test: "TestQuarantineAndAClockSetBack", Pkg: "ipam"},
		Row{Fault: "10,000 connections are open", Kind: Input, Test: "TestTenThousandIdleConnections", Pkg: "plugin"},
		Row{Fault: "clients send a part of a request, or do not read the answer", Kind: Input, Test: "TestSilentClients", Pkg: "plugin"},
		Row{Fault: "a request is cut at each byte", Kind: Input, Test: "TestEachPrefixOfEachRequest", Pkg: "plugin"},
		Row{Fault: "what is sent is no request", Kind: Input, Test: "TestGarbage", Pkg: "plugin"},
	)
}
