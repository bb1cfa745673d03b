package reconcile

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/spoof"
)

// While rules can't be changed, checks of senders don't go either: the rules that should have closed
// what the checks have kept closed until then are not there.
func TestChecksStayWithoutRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, senders := checked(t)
		listed := networks()
		listed.Networks[0].ICCSet = "web>db:80/tcp"
		h.set(listed)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := senders.last; len(s.Networks) != 1 || len(s.Ports) != 1 {
			t.Fatalf("senders: %+v", s)
		}
		broken := errors.New("iptables-restore: line 3 failed")
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return broken })
		apart := networks()
		apart.Networks[0].ICCSet = model.ICCNone
		apart.Endpoints[1].Spoof.Mode = model.SpoofRefuse
		h.set(apart)
		if err := h.r.Sync(t.Context(), apart.Networks[0].Bridge); !errors.Is(err, broken) {
			t.Errorf("the request: %v", err)
		}
		if err := h.r.Sync(t.Context(), apart.Endpoints[1].HostIface()); !errors.Is(err, broken) {
			t.Errorf("the request of whose sender is to be checked: %v", err)
		}
		if s := senders.last; len(s.Networks) != 1 || len(s.Ports) != 1 {
			t.Errorf("senders, without rules: %+v", s)
		}
		h.firewall.failWith(nil)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		if s := senders.last; len(s.Networks) != 0 || len(s.Ports) != 1 || s.Ports[0].Link != apart.Endpoints[1].HostIface() || len(s.Apart) != 1 {
			t.Errorf("senders, with rules: %+v", s)
		}
	})
}

// Where nothing could be begun between containers and a list comes, rules let nothing pass before
// senders have the list, and go on letting nothing pass while it can't be had.
func TestListComesBeforeRulesOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, senders := checked(t)
		apart := networks()
		apart.Networks[0].ICCSet, apart.Networks[1].ICCSet = model.ICCNone, model.ICCNone
		h.set(apart)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		open := func() (all string) {
			for _, n := range h.firewall.last.Networks {
				if n.ICC {
					all += n.Bridge
				}
			}
			return all
		}
		if got := open(); got != "" {
			t.Fatalf("nothing may be begun, and rules let it pass on %s", got)
		}
		broken := errors.New("nf_tables is away")
		early := ""
		senders.failWith(func(*spoof.Set, spoof.Set) error { early += open(); return broken })
		listed := networks()
		listed.Networks[0].ICCSet, listed.Networks[1].ICCSet = "web>db:80/tcp", model.ICCNone
		h.set(listed)
		if err := h.r.Sync(t.Context(), listed.Networks[0].Bridge); !errors.Is(err, broken) {
			t.Errorf("the request: %v", err)
		}
		if got := open(); got != "" || early != "" {
			t.Errorf("without a list rules let pass what is begun on %s, before senders were asked for it on %s", got, early)
		}
		senders.failWith(func(*spoof.Set, spoof.Set) error { early += open(); return nil })
		h.took()
		if err := h.r.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		if got := open(); got != "br-a" || early != "" {
			t.Errorf("with a list rules let pass what is begun on %q, before that on %q", got, early)
		}
		if got, want := h.took(), "senders full, firewall delta, links delta"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		// From then on nothing is held.
		listed = networks()
		listed.Networks[0].ICCSet, listed.Networks[1].ICCSet = "web>db:81/tcp", model.ICCAll
		h.set(listed)
		if err := h.r.Sync(t.Context()); err != nil || open() != "br-abr-b" {
			t.Errorf("%q, %v", open(), err)
		}
		if got, want := h.took(), "firewall delta, senders delta, links delta"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// checked is a harness that runs with an applier of checks of senders.
func checked(t *testing.T) (h *harness, senders *recorder[spoof.Set]) {
	h = prepare()
	senders = &recorder[spoof.Set]{name: "senders", h: h}
	h.r.Aspects = Appliers{
		Firewalld: &h.firewalld, Firewall: &h.firewall, Spoof: senders, Links: &h.links, Sysctls: &h.sysctls, Flows: h, Ports: &h.ports,
	}.Aspects(model.Snapshot{})
	h.run(t)
	<-h.r.Ready()
	return h, senders
}
