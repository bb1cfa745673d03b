package link

import "slices"

// Behind returns what links are to be like before requests are answered: the kernel takes
// long to destroy a pair, and one that is without a container does no harm for a moment. But
// a pair goes at once if its bridge does or is full, and if one that is wanted has something of
// it.
func Behind(have, want Set) Set {
	wanted, ports, first := byName(want.Veths, Veth.key), map[string]int{}, want
	for _, v := range want.Veths {
		ports[v.Bridge]++
	}
	for _, v := range slices.Concat(have.Leaving, have.Veths) {
		if _, stays := wanted[v.Host]; stays {
			continue
		}
		bridged := slices.ContainsFunc(want.Bridges, func(b Bridge) bool { return b.Name == v.Bridge })
		if bridged && ports[v.Bridge] < maxPorts && !slices.ContainsFunc(want.Veths, v.clashes) {
			ports[v.Bridge]++
			first.Leaving = append(first.Leaving, v)
		}
	}
	return first
}

// clashes reports whether two pairs have something that only one must have.
func (v Veth) clashes(o Veth) bool {
	return v.Host == o.Host || v.Peer == o.Peer || v.MAC == o.MAC ||
		v.Bridge == o.Bridge && (v.V4.IsValid() && v.V4 == o.V4 || v.V6.IsValid() && v.V6 == o.V6)
}
