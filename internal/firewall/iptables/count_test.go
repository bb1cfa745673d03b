package iptables

import (
	"testing"
)

func TestCounters(t *testing.T) {
	have := counters("*nat\n:MYBR-PORTS - [0:0]\n[3:180] -A MYBR-PORTS -p tcp -j X\n[1:60] -A MYBR-PORTS-2 -p tcp -j Y\n[a:1] -A MYBR-PORTS z\n[2:9] -A OTHER ] -A MYBR-PORTS q\nCOMMIT\n", "MYBR-PORTS")
	if len(have) != 1 || have["-p tcp -j X"] != 3 {
		t.Errorf("have %v", have)
	}
}
