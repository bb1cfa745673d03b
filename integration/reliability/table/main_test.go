package main

import (
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
)

// A row whose test ran, but failed before it came to it, is not said to be survived because
// it was once.
func TestRenew(t *testing.T) {
	const deleted, renamed, vpn = "a bridge is deleted", "a bridge is renamed", "a VPN's route comes to overlap a network"
	seen := map[string]reliability.Measured{
		deleted: {Tried: 1, Survived: 1}, renamed: {Tried: 1, Survived: 1}, vpn: {Tried: 1, Survived: 1},
		"a fault that is no row any more": {},
	}
	attempts := []reliability.Attempt{
		{Fault: deleted, Survived: true, Gap: time.Second}, {Fault: deleted, Gap: 2 * time.Second},
	}
	renew(seen, attempts, byPackage(regexp.MustCompile("TestOthersChangeLinks")))
	want := map[string]reliability.Measured{
		deleted: {Tried: 2, Survived: 1, Gap: 2 * time.Second}, vpn: {Tried: 1, Survived: 1},
		"a fault that is no row any more": {},
	}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("have %v, want %v", seen, want)
	}
}
