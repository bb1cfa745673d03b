// Package crash ends mybr, or fails it, at every place between two of its effects, and
// looks whether anything is lost: on the host, in the records, or for Docker.
//
// The process is the test binary once more, with plugin.Run in it and a hook
// (internal/fault) that kills it with SIGKILL at one passage of one point, or has the
// effect behind the point fail. Docker is played as its client behaves; the kernel is real,
// in throw-away network namespaces. Which points a call passes is found by a recording
// run, so that a new one can't be missed.
package crash
