package firewall

import (
	"context"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Config is how a backend finds its commands and where it reports what it does.
type Config struct {
	// Dir is searched for the commands before PATH; "" for PATH alone.
	Dir string
	// Info gets every change in a chain that mybr doesn't own; nil: nothing is reported.
	Info func(format string, args ...any)
	// Warn gets what is odd but no error; nil: nothing is reported.
	Warn func(format string, args ...any)
}

// Backend brings policies about. Its calls may be made at the same time; they run one
// after the other.
type Backend interface {
	// Plan reads and compares, and changes nothing. have is the policy that the last
	// Apply, or the last plan that was carried out, achieved: the plan is then the
	// difference from it. nil means that nothing is known: everything of mybr's is read
	// and put right, its leftovers are removed, and if want has no networks, nothing of
	// mybr's stays. Then a plan without steps says that the host matches.
	//
	// The parts of want that are not valid are an *plan.Error each; the plan is for the
	// rest, as Policy.Only has it. With any other error the plan has the steps of the
	// families that could be read.
	Plan(ctx context.Context, have *Policy, want Policy) (plan.Plan, error)
	// Apply makes a plan and carries it out.
	Apply(ctx context.Context, have *Policy, want Policy) error
	// Own reports whether a process is one by which the backend changes rules, or was until
	// a moment ago.
	Own(pid int) bool
	// Matters reports whether somebody's change of the kernel's rules (nf_tables) may
	// concern the backend's: of a table and, unless it is "", a chain, with the rest of what
	// the kernel says about it. It is cheap, and says yes when in doubt.
	Matters(table, chain string, message []byte) bool
	// Changed reports whether others have changed rules since the last call of which the
	// kernel tells nobody. It is cheap.
	Changed() (bool, error)
	// Name is what the backend is opened by, such as "iptables".
	Name() string
	// Variant says in words where mybr's rules are, such as "iptables (nf_tables)"; ""
	// while there are none.
	Variant() string
	// IPv6 says why the host's IPv6 can't be filtered; nil: it can. If it can't, IPv6 is
	// left alone, and the caller must see to it that no network has any.
	IPv6() error
	// SlowHint is a question that leads an operator to what holds the backend up, such
	// as "does another program hold /run/xtables.lock?".
	SlowHint() string
	// Explain lists the rules that the backend would have for a policy on this host, as
	// far as it has read it: IPv4's first, of each family the jumps in chains of others
	// first.
	Explain(p Policy) []ExplainedRule
	// Count reads what the rules of published ports have counted since they were made. A
	// port that has no such rule is not in it.
	Count(ctx context.Context, ports []Port) (map[model.PortBinding]Counter, error)
	// Told reads one of the Changes of a plan of the backend; false: it is none.
	Told(change string) (Change, bool)
	// Close gives back what the backend holds open; its rules stay. It can be used on.
	Close()
}

// Counter is what a rule that translates has seen.
type Counter struct {
	Connections uint64 // their first packets, which are all that is looked up in the rules
}

// What a Change does.
const (
	Added   = "add"    // a rule, or a chain
	Deleted = "delete" // the same
	Moved   = "move"   // a rule, within its chain
)

// Change is one thing that a plan changes, taken apart.
type Change struct {
	Command      string // by which it is made, such as "iptables-legacy"
	Table, Chain string
	Action       string
	Rule         string // as an ExplainedRule's; "": it is about the chain itself
}

// ExplainedRule is one rule that a policy brings about, and what it is for.
type ExplainedRule struct {
	Command      string // that shows it, such as "iptables", "ip6tables" or "nft"
	Table, Chain string // "ip mybr" in nf_tables; an element has its set or map for a chain
	Rule         string // as the command prints it, without the chain: iptables-save(8) has it behind "-A CHAIN "; an element is in braces
	Why          string // one sentence or two
	Bridge       string // of the network that it serves; "": all of them
	Link         string // the host's end of the veth pair of the endpoint that it serves; "": all of them
}
