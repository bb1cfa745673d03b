package store

import (
	"fmt"
	"strconv"
)

// keyListening is the key of a port at which the process listens: what for follows.
const keyListening keyText = "listening/"

// SetListening records the port of the host at which the process listens for something. It stays
// over reboots.
func (tx *Tx) SetListening(what string, port uint16) error {
	if err := tx.put(place{bucketMeta}, append(keyListening.bytes(), what...), []byte(strconv.Itoa(int(port)))); err != nil {
		return fmt.Errorf("record the port %d for %s: %w", port, what, err)
	}
	return nil
}

// Listening is the port that SetListening has recorded last; 0: none.
//
// Errors: that what is recorded is no port.
func (tx *Tx) Listening(what string) (uint16, error) {
	text := tx.b.Bucket(bucketMeta.bytes()).Get(append(keyListening.bytes(), what...))
	if text == nil {
		return 0, nil
	}
	port, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("the recorded port for %s is %q, want a number from 1 to 65535", what, text)
	}
	return uint16(port), nil
}
