package report

import "time"

// Attempt is one thing that an attacker sends, for guest attempt.
type Attempt struct {
	Kind   string        // "frame": Data leaves eth0 as it is; "ip": Data is a packet that the kernel routes; "tcp", "udp": Data is sent to To
	To     string        `json:",omitempty"` // ADDRESS:PORT of tcp and udp
	Data   []byte        // with the token that watchers look for
	Within time.Duration `json:",omitempty"` // of tcp and udp: for the connection, and again for an answer
}

// Sight is a token that guest watch has seen in a packet, with what the packet was.
type Sight struct {
	Token  string
	Count  int // the number behind the token in what guest drip sends; 0: none
	Packet Packet
}
