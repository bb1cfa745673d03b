package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/mybr/mybr/internal/model"
)

// ConflictError says that this Manager itself holds a socket that conflicts with Addr.
// It is model.ErrConflict to errors.Is; the text is Docker's own.
type ConflictError struct{ Addr netip.AddrPort }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("Bind for %s failed: port is already allocated", unbracketed(e.Addr))
}

// Unwrap makes the error a conflict.
func (e *ConflictError) Unwrap() error { return model.ErrConflict }

// BindError is the kernel's refusal of one host port. It is model.ErrConflict to
// errors.Is if the address is in use; the text is Docker's own.
type BindError struct {
	Addr      netip.AddrPort
	Container netip.AddrPort // what it was to lead to
	Proto     model.Proto
	Err       error // nearly always a syscall.Errno
}

func (e *BindError) Error() string {
	return fmt.Sprintf("failed to bind host port for %s:%s/%s: %s", e.Addr, e.Container, e.Proto, e.Err)
}

// unbracketed is an address and a port as Docker's message of a conflict has them, without
// brackets. That of the kernel's refusal has them.
func unbracketed(a netip.AddrPort) string { return fmt.Sprintf("%s:%d", a.Addr(), a.Port()) }

// Unwrap gives the kernel's reason and, where that is so, model.ErrConflict.
func (e *BindError) Unwrap() []error {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return []error{e.Err, model.ErrConflict}
	}
	return []error{e.Err}
}

// RangeError says that not one port of a range is free on all the addresses it was
// asked for. It is model.ErrConflict to errors.Is.
type RangeError struct {
	Addr  netip.AddrPort // the first address asked for, with the first port
	Last  uint16
	Proto model.Proto
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("failed to bind a host port of %s-%d/%s: all ports are allocated", e.Addr, e.Last, e.Proto)
}

// Unwrap makes the error a conflict.
func (e *RangeError) Unwrap() error { return model.ErrConflict }

// Error is one binding of the wanted set that Apply could not hold, or not whole.
type Error struct {
	Binding Binding
	Err     error  // the first refusal
	Holder  string // who has the port that was refused, as far as it can be seen; "": not known
	Missing int    // how many of the binding's ports are not held, at least 1
}

func (e *Error) Error() string {
	text := fmt.Sprintf("publish %s for %s: %s", e.Binding.PortBinding, named(e.Binding.Owner), e.Err)
	if e.Holder != "" {
		text += " by " + e.Holder
	}
	if e.Missing > 1 {
		text += fmt.Sprintf(" (and %d more of its ports)", e.Missing-1)
	}
	return text
}

// Unwrap gives the first refusal.
func (e *Error) Unwrap() error { return e.Err }

// reason strips the net package's words from the kernel's: "address already in use".
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
