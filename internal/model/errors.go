package model

import (
	"errors"
	"fmt"
)

// The kinds of failure that callers tell apart. Wrap them with %w, or make an error of a
// kind with Invalid, NotFound, Exists and Conflict.
var (
	// ErrInvalid marks a request that can never succeed as it was asked.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound marks a network, endpoint, pool or lease that has no record.
	ErrNotFound = errors.New("not found")
	// ErrExists marks an ID that has a record with other contents.
	ErrExists = errors.New("already exists")
	// ErrConflict marks a request that another record, link or socket stands in the way of.
	ErrConflict = errors.New("conflict")
)

// kindError is an error of one of the kinds whose text does not repeat the kind's.
type kindError struct{ kind, err error }

func (e *kindError) Error() string   { return e.err.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

// Invalid returns an error that is ErrInvalid to errors.Is, with a text of its own as
// fmt.Errorf makes it.
func Invalid(format string, args ...any) error {
	return &kindError{ErrInvalid, fmt.Errorf(format, args...)}
}

// NotFound is Invalid for ErrNotFound.
func NotFound(format string, args ...any) error {
	return &kindError{ErrNotFound, fmt.Errorf(format, args...)}
}

// Exists is Invalid for ErrExists.
func Exists(format string, args ...any) error {
	return &kindError{ErrExists, fmt.Errorf(format, args...)}
}

// Conflict is Invalid for ErrConflict.
func Conflict(format string, args ...any) error {
	return &kindError{ErrConflict, fmt.Errorf(format, args...)}
}

// IsKind reports whether an error was made by Invalid, NotFound, Exists or Conflict, so
// that its text is complete and needs no words around it.
func IsKind(err error) bool {
	var k *kindError
	return errors.As(err, &k)
}
