// Package wire is what the tests and the agent in their virtual machine say to each other:
// lines of JSON on a serial port.
package wire

// Port is the name of the port, which the guest finds below /dev/virtio-ports.
const Port = "mybr.agent"

// Hello is the agent's first line, at each of its starts.
type Hello struct {
	Boot string `json:"boot"` // the kernel's boot ID
}

// Command is a command that the agent runs as root.
type Command struct {
	ID    int64    `json:"id"` // comes back with the outcome
	Argv  []string `json:"argv"`
	Input []byte   `json:"input,omitempty"` // its standard input
}

// Message is a line from the agent: either a Hello or an Outcome.
type Message struct {
	*Hello   `json:"hello,omitempty"`
	*Outcome `json:"outcome,omitempty"`
}

// Outcome is how a command ended.
type Outcome struct {
	ID     int64  `json:"id"`
	Code   int    `json:"code"` // exit code; -1: a signal ended it, or it could not be started
	Output string `json:"output"`
	Errors string `json:"errors"` // what it wrote to standard error, or why it could not be started
}
