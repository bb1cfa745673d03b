package firewall

func (p Policy) Subjects() map[string]any {
	m := map[string]any{}
	for _, b := range p.Networks {
		m[b.Bridge] = b
	}
	return m
}
func (p Policy) Only(keep func(string) bool) Policy {
	o := p
	o.Networks = nil
	for _, b := range p.Networks {
		if keep(b.Bridge) {
			o.Networks = append(o.Networks, b)
		}
	}
	return o
}
