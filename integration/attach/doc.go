// Package attach counts what mybr does for a container that comes and goes, and measures how
// long that takes, with Docker played and the kernel real.
//
// What is counted (commits, passes, messages to the kernel, programs) is the same on a busy
// machine, and a test; what is measured is a benchmark.
package attach
