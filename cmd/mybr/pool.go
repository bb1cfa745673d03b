package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mybr/mybr/internal/view"
)

func newPool() *cobra.Command {
	return group(cobra.Command{
		Use:   "pool",
		Short: "Show the subnets of mybr's IPAM driver, and have those forgotten that Docker has no more",
	}, newPoolList(), newPoolForget())
}

func newPoolList() *cobra.Command {
	var s seer
	c := command(cobra.Command{
		Use:   "ls [flags]",
		Short: "List the subnets, and how much of each is in use",
		Long: `ls lists the subnets of networks that were made with --ipam-driver mybr, in addresses:

    NETWORK  that has the subnet; - if there is none
    SIZE     from which mybr chooses: of RANGE (--ip-range), or else of all of the subnet
    USED     by gateways, containers and auxiliary addresses, outside of RANGE too
    RESTING  released less than --address-quarantine ago: used again only if no other is left
    KEPT     released by who had named them (--ip), and kept for them
    FREE     of SIZE, neither in use nor resting nor kept
    NEXT     what the next container gets that names none`,
	}, func(cmd *cobra.Command) error {
		v, err := s.see(cmd)
		if err != nil {
			return err
		}
		if s.output == outputJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version int         `json:"version"`
				Pools   []view.Pool `json:"pools"`
			}{formVersion, v.Pools})
		}
		var rows [][]any
		for _, p := range v.Pools {
			part, next := "-", "-"
			if p.Range.IsValid() {
				part = p.Range.String()
			}
			if p.Next.IsValid() {
				next = p.Next.String()
			}
			rows = append(rows, []any{p.Prefix, part, p.Space, dash(networkOf(v, p)), amount(p.Size), amount(p.Used), amount(p.Rests), amount(p.Kept), amount(p.Free), next})
		}
		return printTable(cmd.OutOrStdout(), "SUBNET\tRANGE\tSPACE\tNETWORK\tSIZE\tUSED\tRESTING\tKEPT\tFREE\tNEXT", rows, "NETWORK")
	})
	s.flags(c)
	return c
}

// networkOf is what the network is called that has a pool's subnet; "": none has.
func networkOf(v view.View, p view.Pool) string {
	for _, n := range v.Networks {
		if slices.ContainsFunc(n.Subnets, func(s view.Subnet) bool { return s.Prefix == p.Prefix }) {
			return called(n.Name, n.ID)
		}
	}
	return ""
}

// amount is a number that a person can read: those of IPv6 have up to twenty digits.
func amount(n uint64) string {
	if n < 1e9 {
		return fmt.Sprint(n)
	}
	// As good as a power of two is what is left of an IPv6 subnet, but for some addresses.
	if exponent := math.Round(math.Log2(float64(n))); math.Abs(float64(n)-math.Exp2(exponent)) < 1e-6*float64(n) {
		return fmt.Sprintf("2^%.0f", exponent)
	}
	return fmt.Sprintf("%.1e", float64(n))
}
