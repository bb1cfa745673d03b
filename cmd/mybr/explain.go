package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/explain/host"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// explanation is what mybr explain prints with -o json.
type explanation struct {
	explain.Result
	Sent *host.Sent `json:"sent,omitempty"` // nil: nothing was sent
}

func newExplain() *cobra.Command {
	var s seer
	var six, send bool
	var asked explain.Asked
	c := commandWith(cobra.Command{
		Use:   "explain [flags] SRC DST[:PORT][/PROTO]",
		Short: "Predict what becomes of a packet: path, rules, translation, reply",
		Long: `explain follows a packet from SRC to DST, and the reply, through the namespaces, routes,
bridges and firewall rules that the kernel has just now, and says what becomes of it and
which rule decides. Rules of others count as they do for the kernel; of mybr's own it says
why they are there.

SRC and DST are each the name of a container, the name, bridge or ID of a network (then the
first container on it), an address, host, or lan for somebody beyond the host's uplink. Of a
container on several networks the address is asked about that is on a network of SRC's, or
else on that of its default route; a line says which, and what the others are.
PROTO is tcp, udp, sctp or icmp; without it tcp, and without a port an echo request.

Beside rules of iptables and nftables it knows what stops packets at links, bridges and neighbours. Where
a single thing is in the way that is somebody's own setting, the command is printed that takes
it away, behind mend:.

What can't be told is never guessed: the verdict is then unknown, and names the rule. Who is
beyond the uplink can't be seen: the verdict is leaves if the packet gets that far, and a
reply would come back.

With --send a real packet is sent from the namespace of SRC, which is host or a container's (a
connection is begun, a datagram or an echo request sent), and what the kernel of the host did
with it is shown beside the prediction. For that moment a table of nf_tables named mybr-explain-PID has the
kernel trace that one flow; it goes with the process, however that ends.

Exit status: 0 if the packet is delivered or leaves the host, 1 if it doesn't, or if that
can't be told, or if what was sent fared otherwise than predicted. It reads other namespaces,
and needs root.`,
		Example: `  mybr explain web lan
  mybr explain lan host:8080
  mybr explain 172.18.0.2 db:5432/tcp --send`,
		Args:              wantArgs(2),
		ValidArgsFunction: s.complete(containersOf),
	}, func(cmd *cobra.Command, args []string) error {
		asked.Src, asked.Six = args[0], six
		return s.explain(cmd, asked, send)
	})
	toggle(c.Flags(), &six, "ipv6", "by IPv6, where there is a choice; a line says so if there is none")
	toggle(c.Flags(), &send, "send", "send a real packet, too, and show what the kernel did with it")
	s.flags(c)
	variables := c.PreRunE
	c.PreRunE = func(cmd *cobra.Command, args []string) (err error) {
		if err := variables(cmd, args); err != nil {
			return err
		}
		asked.Dst, asked.Proto, asked.Port, err = explain.ParseTarget(args[1])
		return err
	}
	return c
}

func (s *seer) explain(cmd *cobra.Command, asked explain.Asked, send bool) error {
	v, why := s.known(cmd)
	w, places, err := host.Gather(v)
	if err != nil {
		return err
	}
	w.Why = why
	q, err := asked.Query(w, v)
	if err != nil {
		return err
	}
	var e explanation
	if e.Result, err = host.Predict(cmd.Context(), w, places, q, map[string]bool{}); err != nil {
		return err
	}
	e.Escape(plugin.Printable)
	if send {
		sent, err := host.Send(cmd.Context(), w, places, q, e.Result)
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		sent.Escape(plugin.Printable)
		e.Sent = &sent
	}
	if s.output == outputJSON {
		err = printJSON(cmd.OutOrStdout(), e)
	} else {
		err = e.print(cmd.OutOrStdout())
	}
	switch {
	case err != nil:
		return err
	case send && !e.Sent.Agrees && e.Verdict != explain.Unknown:
		return errors.New("what was sent fared otherwise than predicted")
	case e.Verdict == explain.Unknown:
		return errors.New("whether it is delivered can't be told")
	case e.Verdict != explain.Delivered && e.Verdict != explain.Leaves:
		return errors.New("it is not delivered")
	}
	return nil
}

// known is what mybr knows of its networks, and why it has its rules. Without it much can
// still be told.
func (s *seer) known(cmd *cobra.Command) (v view.View, why map[explain.RuleKey]string) {
	v, err := s.see(cmd)
	why = map[explain.RuleKey]string{}
	var rules view.Rules
	if err == nil {
		rules, err = s.client.Rules(cmd.Context(), false)
	}
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "mybr: what mybr itself knows is missing:", oneLine(err))
	}
	for _, r := range rules.Rules {
		why[explain.RuleKey{Six: r.Command == "ip6tables", Table: r.Table, Chain: r.Chain, Rule: r.Rule}] = r.Why
	}
	return v, why
}

func (e explanation) print(w io.Writer) error {
	if _, err := fmt.Fprint(w, e.Text()); err != nil || e.Sent == nil {
		return err
	}
	agrees := "as predicted"
	switch {
	case e.Verdict == explain.Unknown:
		agrees = "which could not be predicted"
	case !e.Sent.Agrees:
		agrees = "otherwise than predicted"
	}
	fmt.Fprintf(w, "\nsent: %s (%s), %s\n", e.Sent.Verdict, e.Sent.Detail, agrees)
	if e.Sent.Untold != "" {
		fmt.Fprintf(w, "  no trace of the kernel's: %s\n", e.Sent.Untold)
	} else if len(e.Sent.Trace) == 0 {
		fmt.Fprintln(w, "  no rule of the host has seen it")
	}
	for _, t := range e.Sent.Trace {
		fmt.Fprintf(w, "  %s\n", t.Packet)
		for _, r := range t.Rules {
			fmt.Fprintf(w, "    %s\n", r)
		}
	}
	return nil
}
