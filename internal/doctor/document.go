package doctor

import (
	"fmt"
	"strings"
)

// Document is docs/doctor.md.
func Document() string {
	var b strings.Builder
	b.WriteString("<!-- Written by `make generate` from internal/doctor. -->\n\n# What `mybr doctor` looks at\n\n")
	b.WriteString(`Run it as root when a container network does not work:

    mybr doctor

Each check comes to a verdict, the worst first:

| verdict | what it says | exit status |
| --- | --- | --- |
| fault | something does not work | 1 |
| warning | something works badly, or will not work before long | 1 |
| unknown | it can't be told, and why: mybr or Docker does not answer, say | 0 |
| note | worth knowing | 0 |
| ok | all is well; ` + "`--all`" + ` shows what was seen | 0 |

Below each finding is what it means, and behind ` + "`$`" + ` the commands that mend it, for a shell of root's. They are exact: they name the rule, the link or the process that is in the way. Read them before you run them: a rule that drops may be there on purpose. doctor itself changes nothing.

It works without ` + "`mybr serve`" + `, which is a fault then, and looks at the networks whose bridges are there. It works without Docker, too. ` + "`--check NAME`" + ` runs single checks, and ` + "`-o json`" + ` is for programs: an object with ` + "`version`" + ` (1; it grows when a field is removed or means something else), ` + "`taken`" + `, and ` + "`results`" + `, each with ` + "`check`" + `, ` + "`verdict`" + `, ` + "`seen`" + `, ` + "`means`" + ` and ` + "`mend`" + `.

The tests bring each of these faults about on a host of their own, and mend it with the very commands that are printed.

`)
	b.WriteString("| check | what it looks at | what it means if all is not well | what the printed command does |\n| --- | --- | --- | --- |\n")
	for _, c := range Checks() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.Name, cell(c.Sees), cell(c.Means), cell(c.Mends))
	}
	return b.String()
}

// cell is a text in a table of Markdown's.
func cell(s string) string {
	return strings.ReplaceAll(s, "|", `\|`)
}
