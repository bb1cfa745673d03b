package reliability

import "time"

// restarted bounds what a start of mybr may cost: rules and links stay meanwhile.
const restarted = 2 * time.Second

func init() {
	add(
		Row{Fault: "the state file is deleted, and mybr killed", Kind: Storage, Bound: restarted, Test: "TestRecordsAreLost/deleted"},
		Row{Fault: "the state file is overwritten with garbage, and mybr killed", Kind: Storage, Bound: restarted, Test: "TestRecordsAreLost/damaged"},
		Row{Fault: "the state file and its copy are deleted, and mybr killed", Kind: Storage, Bound: restarted, Test: "TestRecordsAreLost/both"},
	)
}
