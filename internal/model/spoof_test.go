package model_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

func TestParseSpoof(t *testing.T) {
	for _, c := range []struct {
		parse      func(string) (string, error)
		text, want string // want: of an error, its beginning behind "!"
	}{
		{model.ParseSpoofMode, "refuse", "refuse"}, {model.ParseSpoofMode, "allow", "allow"}, {model.ParseSpoofMode, "audit", "audit"},
		{model.ParseSpoofMode, "yes", "!yes: want refuse, audit or allow"}, {model.ParseSpoofMode, "", "!"},
		{model.ParseSpoofAddresses, "none", "none"},
		{model.ParseSpoofAddresses, "192.0.2.7", "192.0.2.7/32"},
		{model.ParseSpoofAddresses, " fd00::/8, 10.9.0.1,10.0.0.0/8,fd00::1", "10.0.0.0/8,fd00::/8"},
		{model.ParseSpoofAddresses, "0.0.0.0/0,::/0", "0.0.0.0/0,::/0"},
		{model.ParseSpoofAddresses, "10.0.0.1/8", "!10.0.0.1/8 has bits behind its prefix: want 10.0.0.0/8, or 10.0.0.1"},
		{model.ParseSpoofAddresses, "0.0.0.0", "!0.0.0.0 is no address to send from"},
		{model.ParseSpoofAddresses, "::", "!:: is no address to send from"},
		{model.ParseSpoofAddresses, "224.0.0.0/4", "!224.0.0.0/4 is no address"},
		{model.ParseSpoofAddresses, "::ffff:10.0.0.1", "!::ffff:10.0.0.1 is no address"},
		{model.ParseSpoofAddresses, "fe80::1%eth0", "!fe80::1%eth0 is no address"},
		{model.ParseSpoofAddresses, "10.0.0.1,", "!"},
		{model.ParseSpoofAddresses, strings.Repeat("10.0.0.1,", 9) + "10.0.0.1", "10.0.0.1/32"},
		{model.ParseSpoofMACs, "00-00-5E-00-01-33,02:00:00:00:00:01,00:00:5e:00:01:33", "00:00:5e:00:01:33,02:00:00:00:00:01"},
		{model.ParseSpoofMACs, "none", "none"},
		{model.ParseSpoofMACs, "00:00:00:00:00:00", "!00:00:00:00:00:00 is no address of an interface"},
		{model.ParseSpoofMACs, "01:00:5e:00:00:01", "!01:00:5e:00:00:01 is no address"},
		{model.ParseSpoofMACs, "02:00:00:00:00:00:00:01", "!02:00:00:00:00:00:00:01 is no address"},
		{model.ParseSpoofTrusted, "ra,dhcp,ra", "dhcp,ra"}, {model.ParseSpoofTrusted, "none", "none"},
		{model.ParseSpoofTrusted, "dns", "!dns: want dhcp, ra"}, {model.ParseSpoofTrusted, "dhcp,none", "!none: want dhcp"},
	} {
		got, err := c.parse(c.text)
		if wrong, fails := strings.CutPrefix(c.want, "!"); fails {
			if err == nil || !strings.HasPrefix(err.Error(), wrong) {
				t.Errorf("%q: %q, %v; want the error %q", c.text, got, err, wrong)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
		if again, err := c.parse(got); err != nil || again != got {
			t.Errorf("%q is read as %q, %v", got, again, err)
		}
	}
	var addresses, macs []string
	for i := range 101 {
		addresses, macs = append(addresses, fmt.Sprint("10.0.0.", i)), append(macs, fmt.Sprintf("02:00:00:00:00:%02x", i))
	}
	if _, err := model.ParseSpoofAddresses(strings.Join(addresses, ",")); err == nil || !strings.Contains(err.Error(), "more than 100") {
		t.Errorf("%d addresses: %v", len(addresses), err)
	}
	if _, err := model.ParseSpoofMACs(strings.Join(macs[:17], ",")); err == nil || !strings.Contains(err.Error(), "more than 16") {
		t.Errorf("17 MACs: %v", err)
	}
}

// What is said of an endpoint counts before what is said of its network, what was set before what
// was given, and the default only on bridges of mybr's.
func TestSpoofMode(t *testing.T) {
	const r, w, a = model.SpoofRefuse, model.SpoofAudit, model.SpoofAllow
	for _, c := range []struct {
		network, networkSet, endpoint, endpointSet string
		owned                                      bool
		byDefault, want                            string
	}{
		{"", "", "", "", true, "", a}, {"", "", "", "", true, a, a}, {"", "", "", "", true, r, r}, {"", "", "", "", true, w, w},
		{"", "", "", "", false, r, a}, {"", "", "", "", false, w, a},
		{r, "", "", "", false, a, r}, {w, "", "", "", false, r, w}, {a, "", "", "", true, r, a}, {r, a, "", "", true, r, a}, {a, r, "", "", true, a, r},
		{r, "", a, "", true, r, a}, {a, "", r, "", false, a, r}, {a, r, a, r, true, a, r}, {r, "", r, a, true, r, a}, {r, "", "", w, true, r, w},
	} {
		n := model.Network{Owned: c.owned, Spoof: model.Spoof{Mode: c.network}, SpoofSet: model.Spoof{Mode: c.networkSet}}
		e := model.Endpoint{Spoof: model.Spoof{Mode: c.endpoint}, SpoofSet: model.Spoof{Mode: c.endpointSet}}
		if got := model.SpoofMode(n, e, c.byDefault); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		// Where a list counts, nothing but refusing keeps containers from getting past it.
		e.Egress = "192.0.2.1"
		if got := model.SpoofMode(n, e, c.byDefault); got != r {
			t.Errorf("%+v with a list: %s", c, got)
		}
	}
}
