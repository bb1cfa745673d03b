// Package churn lets many users of one Docker Engine make, change and remove networks and
// containers while things happen to the host: mybr and dockerd end, rules are flushed,
// bridges are deleted. In the end everything is removed, and nothing is left: Docker, the
// kernel and mybr's records agree, and mybr is as big as it was.
//
// A command of a user's may fail only for a reason that is listed: a daemon was away
// meanwhile, another container has the port, or a bridge is deleted while mybr makes it. Each other failure is a fault of mybr's,
// and so is what is left.
//
//	MYBR_CHURN_DURATION=4h go test -timeout 0 ./integration/churn
//
// The seed that a run logs (MYBR_TEST_SEED) repeats what each user does and what happens to
// the host, though not the order in which they come to it.
//
// Be aware: what Docker gives up while mybr is away it tells nobody, so a network's pool
// of mybr's IPAM driver can outlast the network (package ipam); those are counted and
// given back by hand.
package churn

import (
	"fmt"
	"os"
	"time"
)

// durationEnv names how long the users go on, as time.ParseDuration reads it.
const durationEnv = "MYBR_CHURN_DURATION"

// duration is what the environment says, or else the preset.
func duration(preset time.Duration) (time.Duration, error) {
	text := os.Getenv(durationEnv)
	if text == "" {
		return preset, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s=%q: want a time such as 3m", durationEnv, text)
	}
	return d, nil
}
