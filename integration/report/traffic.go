package report

import "time"

// The kinds of Flow.
const (
	Stream   = "stream"  // lines over one TCP connection, each of which the server sends back
	Connects = "connect" // a TCP connection for each request
	UDP      = "udp"     // datagrams, all from one source port
	Ping     = "ping"    // echo requests, all with one identifier
)

// Flow is a request that a "guest traffic" repeats until it is stopped.
type Flow struct {
	Kind   string
	To     string // ADDRESS:PORT, of Ping ADDRESS
	Closed bool   `json:",omitempty"` // nothing ought to answer, at any time
	Late   bool   `json:",omitempty"` // nothing answers to begin with
}

// Flowed is how a flow fared.
type Flowed struct {
	Flow
	Sent, Answered int
	Refused        int           `json:",omitempty"` // requests that got a TCP reset or an ICMP error
	Broken         int           `json:",omitempty"` // streams that ended before they were stopped
	Gap            time.Duration // the longest time without an answer; of a closed flow, from the first answer to the last
	Unsettled      bool          `json:",omitempty"` // when it was stopped it was not answered any more; a closed flow: it still was
	Err            string        `json:",omitempty"` // why a request failed, the last time
}
