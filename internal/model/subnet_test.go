package model_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

func TestCheckSubnet(t *testing.T) {
	for subnet, want := range map[string]string{
		"10.0.0.0/8": "", "1.0.0.0/32": "", "223.255.255.0/24": "", "169.254.0.0/16": "", "::2/128": "", "fe80::/64": "", "fd00::/8": "", "fe80:0:0:1::/64": "",
		// class E, as the fan networks of Ubuntu have it
		"240.0.0.0/24": "", "240.0.0.0/5": "", "250.5.0.0/16": "", "255.255.254.0/24": "",
		"240.0.0.0/4":        "overlaps 255.255.255.255/32 (broadcast), which no host can have addresses of",
		"255.255.255.0/24":   "overlaps 255.255.255.255/32 (broadcast), which no host can have addresses of",
		"0.0.0.0/0":          "overlaps 0.0.0.0/8 (this network), which no host can have addresses of",
		"0.1.0.0/24":         "overlaps 0.0.0.0/8 (this network), which no host can have addresses of",
		"126.0.0.0/7":        "overlaps 127.0.0.0/8 (loopback), which no host can have addresses of",
		"239.0.0.0/24":       "overlaps 224.0.0.0/4 (multicast), which no host can have addresses of",
		"::/64":              "overlaps ::/128 (unspecified), which no host can have addresses of",
		"::1/128":            "overlaps ::1/128 (loopback), which no host can have addresses of",
		"::ffff:10.0.0.0/96": "overlaps ::ffff:0:0/96 (IPv4-mapped), which no host can have addresses of",
		"fe00::/7":           "overlaps ff00::/8 (multicast), which no host can have addresses of",
		"fe80::/66":          "clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it",
		"fe80::/10":          "clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it",
	} {
		switch err := model.CheckSubnet(netip.MustParsePrefix(subnet)); {
		case want == "" && err != nil:
			t.Errorf("%s: %v", subnet, err)
		case want != "" && (err == nil || err.Error() != want || !errors.Is(err, model.ErrInvalid)):
			t.Errorf("%s: have %v, want %s", subnet, err, want)
		}
	}
}

func TestVeryWide(t *testing.T) {
	for prefix, want := range map[string]bool{
		"0.0.0.0/0": true, "128.0.0.0/1": true, "160.0.0.0/3": true, "160.0.0.0/4": false, "10.0.0.0/8": false, "10.0.0.1/32": false,
		"::/0": true, "8000::/1": true, "2000::/3": true, "fc00::/7": true, "fd00::/8": true, "fd80::/9": false, "2001:db8::1/128": false,
	} {
		if model.VeryWide(netip.MustParsePrefix(prefix)) != want {
			t.Errorf("%s: want %t", prefix, want)
		}
	}
}
