package plugin

import (
	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/ipam"
)

// Config is how the process was asked to be. Every field is needed, save
// AddressPools.
type Config struct {
	Version    string // for logs and the operator's commands
	Name       string // of the plugin, as `docker network create -d` has it
	PluginDir  string // Docker looks for <PluginDir>/<Name>.sock
	StateDir   string // of the records
	RunDir     string // of the admin socket
	Firewall   string // one of Firewalls
	SysctlRoot string // /proc/sys, or where that is mounted

	AddressPools []AddressPool // nil: Docker's default ones
	Log          *logrus.Logger
}

// The values of Config.Firewall.
const (
	firewallAuto     = "auto"
	firewallIptables = "iptables"
)

// Firewalls lists what Config.Firewall may be.
func Firewalls() []string { return []string{firewallAuto, firewallIptables} }

// AddressPool is where subnets are chosen from that Docker leaves to the plugin.
type AddressPool = ipam.AddressPool

// ParseAddressPool reads `base=10.64.0.0/10,size=24`.
func ParseAddressPool(s string) (AddressPool, error) {
	pools, err := ipam.ParseAddressPools([]string{s})
	if err != nil {
		return AddressPool{}, err
	}
	return pools[0], nil
}
