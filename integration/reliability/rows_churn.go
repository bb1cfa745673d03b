package reliability

func init() {
	add(Row{
		Fault: "users make, change and remove networks and containers while mybr and dockerd end, rules are flushed and bridges deleted",
		Kind:  Churn, Test: "TestChurn", Pkg: "integration/churn",
	})
}
