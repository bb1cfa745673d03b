package explain

import "net/netip"

// enters has a frame pass what a bridge has for those that come in by a port, or from the bridge
// itself (port is nil).
func (k *walker) enters(s *Space, bridge, port *Link, p *Packet) *outcome {
	if port != nil {
		if end := k.sends(s, port, p); end != nil {
			return end
		}
		return k.framed(s, "prerouting", port.Name, "")
	}
	if end := k.at(s, bridge, false); end != nil {
		return end
	}
	return k.framed(s, "output", "", bridge.Name)
}

// leaves has a frame pass what a bridge has for those that leave by a port.
func (k *walker) leaves(s *Space, port, to *Link, p *Packet) *outcome {
	in := ""
	if port != nil {
		in = port.Name
		if end := k.neighbours(s, port, to, p); end != nil {
			return end
		}
		if end := k.framed(s, "forward", in, to.Name); end != nil {
			return end
		}
	}
	return k.framed(s, "postrouting", in, to.Name)
}

// taken has a frame pass what a bridge has for those that it takes itself.
func (k *walker) taken(s *Space, bridge, port *Link, p *Packet, next netip.Addr) *outcome {
	if port != nil {
		if end := k.routedBack(s, port, p); end != nil {
			return end
		}
		if end := k.framed(s, "input", port.Name, bridge.Name); end != nil {
			return end
		}
	}
	if end := s.doubted(bridge, p, next); end != nil {
		return end
	}
	if end := k.asks(s, bridge, p); end != nil {
		return end
	}
	return k.at(s, bridge, true)
}

// blocked is for what comes in by a port that passes nothing on.
func (s *Space) blocked(bridge, port *Link) outcome {
	o := dead("port %s of bridge %s of %s is not forwarding (ip -d link show %[1]s, state)", port.Name, bridge.Name, s.Name)
	o.mend = s.mend("bridge", "link", "set", "dev", port.Name, "state", "3")
	return o
}
