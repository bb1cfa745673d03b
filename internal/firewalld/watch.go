package firewalld

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"
)

// The bus is looked for after firstRetry and then twice as long each time, up to
// lastRetry. connectWithin bounds an attempt: the bus may be there and not answer.
const (
	firstRetry    = time.Second
	lastRetry     = 30 * time.Second
	connectWithin = 10 * time.Second
)

// The signals, by their full names.
const (
	ownerChanged = "org.freedesktop.DBus.NameOwnerChanged"
	reloaded     = daemonName + ".Reloaded"
)

// Watch calls changed each time that firewalld may have undone something: it was
// started, was stopped or has reloaded, or it is there when the bus is first seen or
// seen again. It returns when ctx ends. changed must not wait.
func (a *Applier) Watch(ctx context.Context, changed func()) {
	delay := firstRetry
	for {
		if a.watch(ctx, changed) {
			delay = firstRetry
		}
		retry := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			retry.Stop()
			return
		case <-retry.C:
		}
		delay = min(2*delay, lastRetry)
	}
}

// watch is Watch on one connection; it returns when that ends, and whether there was
// one.
func (a *Applier) watch(ctx context.Context, changed func()) (connected bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(connectWithin, cancel)
	conn, err := a.dial(ctx)
	if err != nil {
		late.Stop()
		return false
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	there, err := subscribe(ctx, conn)
	if !late.Stop() || err != nil {
		return false
	}
	if there {
		changed()
	}
	for s := range signals { // closed with the connection
		if s.Name == ownerChanged || s.Name == reloaded { // the bus sends others too
			changed()
		}
	}
	return true
}

// subscribe asks for the signals, and then whether firewalld is there: in this order
// no start of it goes unseen.
func subscribe(ctx context.Context, conn *dbus.Conn) (there bool, err error) {
	for _, match := range [][]dbus.MatchOption{
		{dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchInterface("org.freedesktop.DBus"),
			dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, daemonName)},
		{dbus.WithMatchSender(daemonName), dbus.WithMatchInterface(daemonName),
			dbus.WithMatchMember("Reloaded"), dbus.WithMatchObjectPath(daemonPath)},
	} {
		if err := conn.AddMatchSignalContext(ctx, match...); err != nil {
			return false, err
		}
	}
	return owned(ctx, conn)
}
