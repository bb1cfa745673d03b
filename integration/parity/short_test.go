package parity

import "testing"

// shownBy is, for scenarios that a run with -short leaves out, the ones it plays that show
// the same: on the newest engine a scenario takes one to ten seconds, and there are three
// hundred.
func shownBy() map[string][]string {
	return map[string][]string{
		"publish/udp":                                        {"publish6/udp"},
		"publish/one of a range":                             {"publish6/one of a range"},
		"publish/same port at two host addresses":            {"publish6/other containers at other addresses"},
		"publish/address that the host hasn't":               {"publish6/address that the host hasn't"},
		"access/itself by its published port":                {"access6/itself by its published port", "publish6/tcp", "publish6/udp"},
		"option/host_binding_ipv4=127.0.0.1":                 {"publish/127.0.0.1", "option/several at once"},
		"option/mtu":                                         {"option/several at once", "ipv6/mtu"},
		"ipv6/subnet GUA /64":                                {"ipv6/subnet ULA /64"},
		"ipv6/subnet /48":                                    {"ipv6/subnet ULA /64"},
		"ipv6/subnet /80":                                    {"ipv6/subnet ULA /64", "ipv6/subnet /120"},
		"ipv6/subnet /112":                                   {"ipv6/subnet /120"},
		"ipv6/subnet /126":                                   {"ipv6/subnet /120", "ipv6/subnet /127"},
		"ipv6/subnet with a gateway":                         {"ipv6/subnet with gateways of both families"},
		"ipv6/subnet with an ip-range":                       {"ipv6/subnet with auxiliary addresses"},
		"publish6/without IPv4, any address of IPv6":         {"publish6/without IPv4", "publish6/any address of IPv6"},
		"publish6/without IPv4, any address of IPv4":         {"publish6/without IPv4", "publish6/without IPv4, 127.0.0.1"},
		"publish6/any address of IPv4":                       {"option/host_binding_ipv4=0.0.0.0, both families", "publish6/udp"},
		"mode/nat-unprotected and routed":                    {"mode/nat-unprotected and nat-unprotected", "mode/routed and routed", "mode/nat and routed"},
		"mode/routed and nat-unprotected":                    {"mode/nat-unprotected and nat-unprotected", "mode/routed and routed", "mode/routed and nat"},
		"mode/nat and nat-unprotected":                       {"mode/nat-unprotected and nat-unprotected", "mode/nat and nat"},
		"mode/internal, isolated and nat":                    {"mode/internal, isolated and isolated", "ipv6/internal"},
		"mode/internal, nat and isolated":                    {"mode/internal, isolated and isolated", "ipv6/internal"},
		"mode/internal, nat-unprotected and nat-unprotected": {"mode/internal, routed and routed", "ipv6/internal"},
		"mode/routed, all exposed":                           {"mode/routed, no host port", "mode/routed, exposed alone"},
		"mode/isolated, a subnet /30":                        {"mode/isolated, a subnet /31"},
		"mode/trusted_host_interfaces, another one":          {"mode/trusted_host_interfaces", "mode/trusted_host_interfaces, two"},
		"life/kill and start":                                {"life/restart"},
		"daemon/dockerd is stopped, restart always":          {"daemon/dockerd is killed, restart always"},
		"daemon/dockerd is stopped, live-restore":            {"daemon/dockerd is killed, live-restore"},
		"daemon/dockerd is stopped":                          {"daemon/dockerd is killed"},
		"daemon/live-restore, then connect and disconnect":   {"daemon/live-restore, then stop and start", "life/connect and disconnect"},
		"daemon/live-restore, network removed":               {"daemon/dockerd is killed, live-restore", "failure/network in use"},
		"daemon/reboot":                                      {"daemon/reboot, options of a network", "daemon/reboot, and the host is no router"},
		"daemon/reboot, restart always":                      {"daemon/reboot, options of a network", "daemon/dockerd is killed, restart always"},
		"failure/port taken by a container":                  {"failure/port taken by a process", "publish/port of another container"},
		"failure/removed between two restarts":               {"failure/restart policy on-failure"},
		"failure/stopped container connected and started":    {"failure/connect to a network twice", "life/two networks"},
	}
}

func TestShownByNamesScenarios(t *testing.T) {
	named := map[string]scenario{}
	for _, sc := range scenarios() {
		named[sc.name] = sc
	}
	for name, others := range shownBy() {
		if _, ok := named[name]; !ok {
			t.Errorf("there is no scenario %q", name)
		}
		for _, other := range others {
			if sc, ok := named[other]; !ok || sc.full {
				t.Errorf("%q is said to be shown by %q, which a run with -short doesn't play", name, other)
			}
		}
	}
}
