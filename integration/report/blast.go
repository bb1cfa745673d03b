package report

import "time"

// The kinds of load of a "guest blast".
const (
	BlastUDP    = "udp"     // small datagrams of one flow, as many as go
	BlastOneWay = "one-way" // the same, of a flow that nothing ever answers
	BlastTCP    = "tcp"     // one connection, as many bytes as go
	BlastConns  = "connect" // connections, one after the other on several threads
)

// Blasted is what a load came to.
type Blasted struct {
	Count uint64 // datagrams or bytes that arrived, or connections whose server answered
	// Carried is how many datagrams were sent, which is what CPU is for: a receiver that is
	// too slow loses some that were carried as far as its socket. 0 for all but datagrams.
	Carried uint64
	Took    time.Duration // from the first to the last, where they arrived; of connections: in all
	// CPU is what both ends had of processors meanwhile; of datagrams, their sender, which
	// carries them as far as the receiver's socket. Where the kernel doesn't set the time of
	// interrupts apart (CONFIG_IRQ_TIME_ACCOUNTING), that has in it what it takes to carry
	// packets: the ends' own system calls do that.
	CPU time.Duration
}

// Rate is what arrived in a second.
func (b Blasted) Rate() float64 { return float64(b.Count) / b.Took.Seconds() }

// Work is what arrived, or of datagrams what was carried, for a second of a processor. Other
// programs of the machine don't change that much.
func (b Blasted) Work() float64 { return float64(max(b.Count, b.Carried)) / b.CPU.Seconds() }
