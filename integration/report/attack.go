package report

import "time"

// Attempt is one thing that an attacker sends, for guest attempt.
type Attempt struct {
	Kind    string        // "frame": Data leaves eth0 as it is; "ip": Data is a packet that the kernel routes; "tcp", "udp": Data is sent to To
	To      string        `json:",omitempty"` // ADDRESS:PORT of tcp and udp
	Data    []byte        // with the token that watchers look for
	Within  time.Duration `json:",omitempty"` // of tcp and udp: for the connection, and again for an answer
	Connect time.Duration `json:",omitempty"` // of tcp and udp: for the connection alone, if that is more
	Once    bool          `json:",omitempty"` // of tcp: ends with the first bytes of an answer
}

// Drip is one of the numbers that guest drip sends.
type Drip struct {
	Count int
	Sent  time.Time // just before
	Err   string    // why it could not be sent; "": it could
}

// Sight is a token that guest watch has seen in a packet, with what the packet was.
type Sight struct {
	Token  string
	Count  int // the number behind the token in what guest drip sends; 0: none
	Packet Packet
}
