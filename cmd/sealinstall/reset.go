package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

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
			cluster, err := o.wholeCluster()
			if err != nil {
				return err
			}
			if err := o.confirmReset(cmd, cluster); err != nil {
				return err
			}
			again := func(found *installer.Cluster) (*installer.Cluster, error) { return o.wholeOf(&record{Cluster: found}) }
			return o.pipeline(cmd, cluster, again, steps.Reset(), func(_ context.Context, r *steps.Run, _ []installer.Timing, err error) error {
				if err != nil {
					return nil // the state is kept: it is what the next try needs
				}
				return r.Ledger.Forget()
			})
		},
	}
	o.hostFlags(cmd.Flags())
	o.yesFlag(cmd.Flags(), "do not ask")
	cmd.Flags().StringSliceVar(&o.leaveOut, "leave-out", nil, "addresses of hosts that cannot be reached any more: the others are reset without them")
	return cmd
}

// wholeCluster is the recorded cluster without the hosts that are left out. A
// part of it is not reset: the rest would be a cluster that lost hosts unasked.
func (o *runOptions) wholeCluster() (*installer.Cluster, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	known, err := o.recorded(o.cluster)
	if err != nil {
		return nil, err
	}
	return o.wholeOf(known)
}

func (o *runOptions) wholeOf(known *record) (*installer.Cluster, error) {
	c, err := o.selectionOn("reset", known)
	if err != nil {
		return nil, err
	}
	if known == nil && len(o.leaveOut) > 0 {
		return nil, usageError{fmt.Errorf("--leave-out: no cluster %q is recorded here, and only the hosts named are reset", o.cluster)}
	}
	out, err := installer.ParseAddresses(strings.Join(o.leaveOut, ","))
	if err != nil {
		return nil, usageError{fmt.Errorf("--leave-out: %w", err)}
	}
	for _, a := range out {
		if !slices.Contains(c.IPs(), a.IP.String()) {
			return nil, usageError{fmt.Errorf("--leave-out: %s is no host of cluster %s; its hosts are %s", a.IP, c.Name, strings.Join(c.IPs(), ", "))}
		}
	}
	left := func(h installer.Host) bool {
		return slices.ContainsFunc(out, func(a installer.Address) bool { return a.IP == h.IP })
	}
	var missing []string
	masters := 0
	for i := range c.Hosts {
		h := &c.Hosts[i]
		if h.Away && !left(*h) {
			missing = append(missing, h.IP.String())
		}
		if h.Away = left(*h); h.Master && !h.Away {
			masters++
		}
	}
	if len(missing) > 0 {
		return nil, usageError{fmt.Errorf("reset takes a cluster apart as a whole, and %s are in %s, too: name all hosts or none; one that is dead is left out with --leave-out %s (to take a host out of a cluster that goes on, use sealinstall delete)",
			strings.Join(missing, ", "), c.Name, missing[0])}
	}
	if masters == 0 {
		return nil, usageError{fmt.Errorf("--leave-out: no master is left; give one that can be reached, or remove %s on this machine by hand", c.Name)}
	}
	return completed(c, nil)
}

// confirmReset asks for the cluster's name, since nothing can be undone.
func (o *runOptions) confirmReset(cmd *cobra.Command, c *installer.Cluster) error {
	if o.yes {
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
	if (question{in: os.Stdin, out: cmd.ErrOrStderr()}).confirmed(text.String(), c.Name) {
		return nil
	}
	return usageError{fmt.Errorf("not confirmed: nothing was done (use --yes where nobody can answer)")}
}
