package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// findRenamed finds the wanted links that are there by other names: by the alias, which
// says whose a link is.
func (p *planner) findRenamed(want Set) {
	p.renamed = map[string]found{}
	if len(p.links) == 0 {
		return // nobody has looked
	}
	owners := map[string]string{} // names by what aliases say
	for _, b := range want.Bridges {
		if b.Owned {
			owners[model.AliasOwner(b.Alias)] = b.Name
		}
	}
	for _, v := range want.Veths {
		owners[model.AliasOwner(v.Alias)] = v.Host
	}
	wanted := want.names()
	for _, l := range p.links {
		name, ok := owners[model.AliasOwner(l.alias)]
		if _, there := p.links[name]; !ok || there || wanted[l.name] || !l.ours() {
			continue
		}
		if other, twice := p.renamed[name]; !twice || l.index < other.index {
			p.renamed[name] = l
		}
	}
}

// isRenamed reports whether a link is to get a wanted name back.
func (p *planner) isRenamed(l found) bool {
	for _, r := range p.renamed {
		if r.index == l.index {
			return true
		}
	}
	return false
}

// rename plans to give a link its name back, and returns it as it is then. Kernels before
// 6.2 rename no link that is up.
func (p *planner) rename(w *work, l found) found {
	w.do(func() error {
		err := p.setLink(l.index, change{name: w.subject})
		if errors.Is(err, unix.EBUSY) {
			err = errors.Join(p.setLink(l.index, change{down: true}), p.setLink(l.index, change{name: w.subject, up: l.up}))
		}
		if err != nil {
			return fmt.Errorf("rename %s to it: %w", l.name, err)
		}
		return nil
	}, change{name: w.subject}.words(l)...)
	l.name = w.subject
	return l
}
