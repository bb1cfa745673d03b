// Package attach counts what mybr does for a container that comes and goes, and measures how
// long that takes, with Docker played and the kernel real.
//
// What is counted (commits, passes, messages to the kernel, programs) is the same on a busy
// machine, and a test, and so is in which order effects come where that counts; what is measured is
// a benchmark.
// The rows attach and serve of integration/bench measure the program as it is installed; here
// go test -cpuprofile shows where the time goes, and no engine is needed.
package attach
