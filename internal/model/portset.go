package model

// Request asks for a binding of one port as it is.
func (b PortBinding) Request() PortRequest {
	r := PortRequest{Proto: b.Proto, First: b.Host.Port(), Last: b.Host.Port()}
	*r.Target(FamilyOf(b.Host.Addr())) = Target{Host: b.Host.Addr(), Container: b.Container}
	return r
}

// PortSet is single ports: bindings of which each has Count 1.
type PortSet map[PortBinding]bool

// Ports is the set of the ports of some bindings.
func Ports(bindings ...PortBinding) PortSet {
	all := PortSet{}
	for _, b := range bindings {
		for one := range b.Ones() {
			all[one] = true
		}
	}
	return all
}

// Bindings are the fewest that the ports make, sorted; nil: there are no ports.
func (s PortSet) Bindings() []PortBinding {
	ones := make([]PortBinding, 0, len(s))
	for one := range s {
		ones = append(ones, one)
	}
	return Coalesce(ones)
}
