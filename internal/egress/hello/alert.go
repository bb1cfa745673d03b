package hello

import "fmt"

// Alert is why a connection is closed, as the client is told (RFC 8446, 6.2).
type Alert uint8

const (
	UnexpectedMessage Alert = 10
	RecordOverflow    Alert = 22
	IllegalParameter  Alert = 47
	// AccessDenied answers for a server that is not listed, and for a name that is hidden: of
	// the alerts it is the one whose text says so to who reads the client's message.
	// unrecognized_name would say that a server doesn't exist.
	AccessDenied     Alert = 49
	DecodeError      Alert = 50
	ProtocolVersion  Alert = 70
	UserCanceled     Alert = 90
	MissingExtension Alert = 109 // no server name (RFC 8446, 9.2), TLS 1.3
	UnrecognizedName Alert = 112 // no server name (RFC 6066, 3), before TLS 1.3
)

var alerts = map[Alert]string{
	UnexpectedMessage: "unexpected_message",
	RecordOverflow:    "record_overflow",
	IllegalParameter:  "illegal_parameter",
	AccessDenied:      "access_denied",
	DecodeError:       "decode_error",
	ProtocolVersion:   "protocol_version",
	UserCanceled:      "user_canceled",
	MissingExtension:  "missing_extension",
	UnrecognizedName:  "unrecognized_name",
}

func (a Alert) String() string {
	if s, ok := alerts[a]; ok {
		return s
	}
	return fmt.Sprintf("alert %d", uint8(a))
}

// Record is the alert, fatal, as a record of a version: type 21, two bytes (RFC 8446, 6).
func (a Alert) Record(version uint16) []byte {
	return []byte{21, byte(version >> 8), byte(version), 0, 2, 2, byte(a)}
}
