// Package attack tries whatever leads out of a network that has lists, or to a neighbour on it, as
// root in a container with every capability but the one to load modules. Each way is a row of one
// table: it is tried on a network without a list, where it has to work, so that the row says
// something, and then on the network with the lists, where its token may be seen nowhere. What has
// arrived is told by watchers at the receivers, not by the sender's errors.
//
// docs/policy.md has the table; TestDocument compares it with what runs.
package attack
