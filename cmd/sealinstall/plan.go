package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/plan"
	"github.com/sealbuild/sealbuild/installer/steps"
)

func newPlanCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "plan", Short: "Show what a run would do; contact no host, change nothing (the same as --dry-run)", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.plan(cmd) },
	}
	o.flags(cmd.Flags())
	return cmd
}

func (o *runOptions) plan(cmd *cobra.Command) error {
	return o.dry(func(r *steps.Run) error {
		p, err := plan.Of(cmd.Context(), r.Site, r.Ledger.RecordedVersion)
		if err != nil {
			return err
		}
		if o.output == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(p)
		}
		return printPlan(cmd.OutOrStdout(), p)
	})
}

func printPlan(w io.Writer, p plan.Plan) error {
	for _, warning := range p.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	fmt.Fprintf(w, "cluster %s: Kubernetes %s, virtual address %s, bundle %.19s\n\n", p.Cluster, p.Kubernetes, p.VIP, p.Bundle)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "HOST\tROLE\tLOGIN\tREGISTRY\tTO MOVE\tDISK NEEDED")
	for _, h := range p.Hosts {
		registry := "-"
		if h.Registry {
			registry = "yes"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s, port %d\t%s\t%s\t%s\n", h.Address, h.Role, h.User, h.Port, registry, humanize.IBytes(uint64(h.Bytes)), diskNeeds(h))
	}
	fmt.Fprintln(tw, "\nIMAGE\tTYPE\tSIZE\tDIRECTORY")
	for _, i := range p.Images {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", i.Name, i.Type, humanize.IBytes(uint64(i.Size)), i.Dir)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s; %s to move to %s, less what they have\n", count.Of(p.Containers, "container image"), humanize.IBytes(uint64(p.Bytes)), count.Of(len(p.Hosts), "host"))
	for _, k := range p.Kubeadm {
		fmt.Fprintf(w, "\n# kubeadm, %s of %s\n%s", k.Kind, k.Host, k.Documents)
	}
	_, err := fmt.Fprintln(w, "\nno host was contacted and nothing was changed")
	return err
}

// diskNeeds says what is needed where: "/var/lib/registry 3.1 GiB, /var/lib/containerd 4.0 to 9.2 GiB".
func diskNeeds(h plan.Host) string {
	var parts []string
	for _, dir := range slices.Sorted(maps.Keys(h.DiskMost)) {
		least, most := humanize.IBytes(uint64(h.DiskLeast[dir])), humanize.IBytes(uint64(h.DiskMost[dir]))
		if least != most {
			most = least + " to " + most
		}
		parts = append(parts, dir+" "+most)
	}
	return strings.Join(parts, ", ")
}
