package relay

import "sync/atomic"

// Counts is what a Relay has carried since it was made. A number that is read while
// traffic passes may be older than another one.
type Counts struct{ TCP, UDP Traffic }

// Traffic is what was carried of one protocol, counted as it is passed on.
type Traffic struct {
	Begun       uint64 // TCP connections, or UDP clients
	Ended       uint64 // of those
	Refused     uint64 // for lack of descriptors, and not begun: connections, or datagrams
	Unreachable uint64 // of those that began: the connection to the container was not made
	In, Out     uint64 // bytes to containers, and back to clients
}

// counters are the Traffic of one protocol, as it is counted. The zero value is ready for
// use.
type counters struct {
	begun, ended, refused, unreachable, in, out atomic.Uint64
}

func (c *counters) read() Traffic {
	// What has ended first: never more than has begun.
	ended := c.ended.Load()
	return Traffic{
		Begun: c.begun.Load(), Ended: ended, Refused: c.refused.Load(), Unreachable: c.unreachable.Load(),
		In: c.in.Load(), Out: c.out.Load(),
	}
}

// Counts returns what was carried so far.
func (r *Relay) Counts() Counts { return Counts{TCP: r.tcp.read(), UDP: r.udp.read()} }
