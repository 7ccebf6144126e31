package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/wanted"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps"
)

func newResetCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "reset", Short: "Take the cluster apart and give back clean hosts", Args: noArgs,
		Long: `Take the cluster apart and give back clean hosts.

Hosts and settings are those of the cluster that was made. It is taken apart as
a whole, and its data is lost. A host that is dead is left out with --leave-out;
the cluster stays recorded until that one is reset, too.`,
		Example: "  ./sealinstall reset\n  ./sealinstall reset --yes --leave-out 10.0.0.4",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			cluster, err := o.Whole()
			if err != nil {
				return err
			}
			if o.dryRun {
				return o.preview(cmd, cluster, o.WholeAgain, steps.PlanReset())
			}
			if err := o.confirmReset(cmd, cluster); err != nil {
				return err
			}
			return o.pipeline(cmd, cluster, o.WholeAgain, steps.Reset(), func(_ context.Context, r *steps.Run, _ []installer.Timing, err error) error {
				if err != nil {
					return nil // the state is kept: it is what the next try needs
				}
				return r.Ledger.Forget()
			})
		},
	}
	o.hostFlags(cmd.Flags())
	o.yesFlag(cmd.Flags(), "do not ask")
	o.previewFlag(cmd.Flags())
	cmd.Flags().StringSliceVar(&o.LeaveOut, "leave-out", nil, "addresses of hosts that cannot be reached any more: the others are reset without them")
	return cmd
}

// confirmReset asks for the cluster's name, since nothing can be undone.
func (o *runOptions) confirmReset(cmd *cobra.Command, c *installer.Cluster) error {
	if o.Yes {
		return nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "this destroys cluster %q and its data on these hosts:\n", c.Name)
	for _, h := range c.Hosts {
		role := "node"
		if h.Master {
			role = "master"
		}
		if h.Away {
			role += ", left out"
		}
		fmt.Fprintf(&text, "  %s (%s)\n", h.IP, role)
	}
	text.WriteString("type its name to go on: ")
	if wanted.Confirmed(cmd.ErrOrStderr(), text.String(), c.Name) {
		return nil
	}
	return usage.Errorf("not confirmed: nothing was done (use --yes where nobody can answer)")
}
