package nftables

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/nftables"
)

// A Docker that does not use iptables (29.0 and later, --firewall-backend=nftables) has a table
// in each family, and in it a map from each of its bridges to the rules for what goes there.
const (
	DockersTable   = "docker-bridges"
	dockersBridges = "filter-forward-in-jumps"
)

// Docker reports whether there is a Docker that has its rules in nf_tables.
func Docker() (bool, error) {
	var s sockets
	conn, end, err := s.open(context.Background())
	if err != nil {
		return false, err
	}
	defer end()
	for _, f := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		there, err := hasTable(conn, f, DockersTable)
		if there || err != nil {
			return there, err
		}
	}
	return false, nil
}

// bridgesOfDocker lists those of a Docker that has its rules in nf_tables.
func bridgesOfDocker(conn *nftables.Conn, f nftables.TableFamily) (names []string, err error) {
	there, err := hasTable(conn, f, DockersTable)
	if err != nil || !there {
		return nil, err
	}
	t := &nftables.Table{Name: DockersTable, Family: f}
	sets, err := conn.GetSets(t)
	if err != nil {
		return nil, fmt.Errorf("list sets of table %s: %w", DockersTable, err)
	}
	for _, s := range sets {
		if s.Name != dockersBridges {
			continue
		}
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return nil, fmt.Errorf("list elements of map %s of table %s: %w", s.Name, DockersTable, err)
		}
		for _, e := range elements {
			if name := strings.TrimRight(string(e.Key), "\x00"); name != "" && len(name) < 16 {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
