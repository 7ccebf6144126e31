package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/wanted"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/leaving"
	"github.com/sealbuild/sealbuild/installer/steps"
)

func newAddCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "add --masters ADDRESSES --nodes ADDRESSES", Short: "Add masters and nodes to the cluster", Args: noArgs,
		Long: `Add masters and nodes to the cluster.

The cluster is the one that was made here or, on one of its masters, the one
that the master is in; elsewhere, name one of its masters beside the new hosts.
All its hosts learn of the new ones. A host of the cluster that does not answer
is left out with a warning. A host that was set up anew and kept its name or
address takes the place of the one that it was.

The bundle must be the one that the cluster runs.`,
		Example: "  ./sealinstall add --nodes 10.0.0.7-10.0.0.9\n  ./sealinstall add --masters 10.0.0.3,10.0.0.4 -i ~/.ssh/id_ed25519",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			o.members.absence.GoOn, o.members.exists = true, true
			cluster, err := o.Extended()
			if err != nil {
				return err
			}
			if o.dryRun {
				return o.preview(cmd, cluster, nil, steps.Preview(steps.Install()))
			}
			return o.pipeline(cmd, cluster, o.ExtendedAgain, steps.Install(), recordMembers)
		},
	}
	o.hostFlags(cmd.Flags())
	o.checkFlags(cmd.Flags())
	o.previewFlag(cmd.Flags())
	return cmd
}

// previewFlag registers --dry-run of commands for a cluster that exists: hosts are asked, and nothing is changed.
func (o *runOptions) previewFlag(f *pflag.FlagSet) {
	f.BoolVar(&o.dryRun, "dry-run", false, "look at the hosts, show what would be done, and change nothing")
}

// preview runs steps that show what a pipeline would do. They reach the hosts and change nothing there.
func (o *runOptions) preview(
	cmd *cobra.Command, cluster *installer.Cluster, again func(*installer.Cluster) (*installer.Cluster, error), list []steps.Step,
) error {
	o.printed, o.members.preview = true, true
	o.members.confirm = nil
	return o.pipeline(cmd, cluster, again, list, func(context.Context, *steps.Run, []installer.Timing, error) error {
		_, err := fmt.Fprintln(o.progress(cmd), "nothing was changed")
		return err
	})
}

func newDeleteCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete --masters ADDRESSES --nodes ADDRESSES", Short: "Take hosts out of the cluster, living or dead ones", Args: noArgs,
		Long: `Take hosts out of the cluster, living or dead ones.

Any host can go, the first master too, from the machine where the cluster was
made or from any master that stays. Their pods move away first, as
PodDisruptionBudgets allow; then they leave etcd and the cluster, all other
hosts learn of it, and the hosts are left as reset leaves them. What is lost
with them is told before, and asked about. A host that was taken out before is
no error; an address that was never in the cluster is.

A host that does not answer and never will again goes with --dead. See that it
stays switched off: its volumes and pods are given to other hosts.`,
		Example: "  ./sealinstall delete --nodes 10.0.0.7\n  ./sealinstall delete --masters 10.0.0.2 --dead",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if err := o.checkDrain(); err != nil {
				return err
			}
			o.members.absence.GoOn, o.members.exists = true, true
			if !o.Yes {
				o.members.confirm = o.confirmDelete(cmd)
			}
			cluster, before, err := o.Reduced()
			if err != nil {
				return err
			}
			if len(before) > 0 {
				fmt.Fprintf(o.progress(cmd), "%s: taken out of cluster %s before: nothing is left to do\n", installer.HostList(before), o.Cluster)
			}
			if cluster == nil {
				return summary{Cluster: o.Cluster}.print(cmd.OutOrStdout(), o.output)
			}
			if o.dryRun {
				return o.preview(cmd, cluster, nil, steps.Preview(steps.Delete()))
			}
			return o.pipeline(cmd, cluster, nil, steps.Delete(), recordMembers)
		},
	}
	o.hostFlags(cmd.Flags())
	o.checkFlags(cmd.Flags())
	o.previewFlag(cmd.Flags())
	o.yesFlag(cmd.Flags(), "do not ask")
	o.leaveFlags(cmd.Flags())
	return cmd
}

// leaveFlags registers the flags of commands that take hosts out of the cluster.
func (o *runOptions) leaveFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.members.absence.Dead, "dead", false, "those of the hosts that leave and do not answer never will again")
	f.DurationVar(&o.members.drainTimeout, "drain-timeout", 5*time.Minute, "longest time for the pods of one host to move away")
}

func (o *runOptions) checkDrain() error {
	if o.members.drainTimeout < time.Second {
		return usage.Errorf("--drain-timeout %s: expected at least 1s", o.members.drainTimeout)
	}
	return nil
}

// recordMembers records the outcome of a run after which the cluster may have other hosts. Where it succeeded, the keys go by
// which this machine knows those that left: another machine may get one of their addresses.
func recordMembers(ctx context.Context, r *steps.Run, timings []installer.Timing, err error) error {
	failed := recorded(ctx, r, timings, err)
	if err != nil || failed != nil || r.KnownHosts != r.State.Path("known_hosts") { // a file of the operator's is theirs
		return failed
	}
	var gone []netip.Addr
	for _, h := range r.Cluster.Leaving {
		gone = append(gone, h.IP)
	}
	return host.ForgetKeys(r.KnownHosts, gone)
}

// confirmDelete asks before hosts leave.
func (o *runOptions) confirmDelete(cmd *cobra.Command) func([]leaving.Loss) error {
	return func(losses []leaving.Loss) error {
		if wanted.Confirmed(cmd.ErrOrStderr(), asksToLeave(losses), "yes") {
			return nil
		}
		return usage.Errorf("not confirmed: nothing was done (use --yes where nobody can answer)")
	}
}

// asksToLeave is the question before hosts leave. It names again what is lost: what was told may have gone into another file.
func asksToLeave(losses []leaving.Loss) string {
	text := "these hosts leave the cluster:\n"
	for _, l := range losses {
		text += fmt.Sprintf("  %s (%s)\n", strings.TrimSpace(l.Node+" "+l.Host), l.Role)
		for _, lost := range l.Lost {
			text += "    lost: " + lost + "\n"
		}
	}
	return installer.Plain(text + "type yes to go on: ")
}

func newApplyCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply -f CLUSTERFILE", Short: "Make the cluster what a Clusterfile says", Args: noArgs,
		Long: `Make the cluster what a Clusterfile says.

It is compared with what is there, the differences are told, and only these are
done: hosts of the file join; hosts that are in the cluster and not in the file
stay, or leave with --prune, which asks and lists what is lost. Changed settings
of the control plane, kubelets and kube-proxy are rolled out host by host; what
somebody has changed by hand stays, unless --take-over is given. Flags lie over
the file. sealinstall gen prints a complete file to begin with.

A bundle with a newer Kubernetes or another rootfs is an upgrade, and is done as
the verb upgrade does it. Hosts come and go with the same command afterwards.

--dry-run shows the differences; where no cluster is recorded, it shows what an
installation would do, and asks no host.`,
		Example: `  ./sealinstall gen --masters 10.0.0.2 > Clusterfile
  ./sealinstall apply -f Clusterfile --dry-run
  ./sealinstall apply -f site.yaml --values oslo.yaml --set vip=10.1.0.9
  ./sealinstall apply -f Clusterfile --prune`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.members.settings.Apply = true
			return o.apply(cmd)
		},
	}
	o.flags(cmd.Flags())
	o.leaveFlags(cmd.Flags())
	o.yesFlag(cmd.Flags(), "do not ask before hosts leave")
	cmd.Flags().BoolVar(&o.members.settings.TakeOver, "take-over", false, "overwrite settings that somebody has changed by hand on hosts or in the cluster")
	o.parallelFlag(cmd.Flags())
	cmd.Flags().BoolVar(&o.members.prune, "prune", false, "take the hosts out of the cluster that are not in the file")
	return cmd
}

func (o *runOptions) apply(cmd *cobra.Command) error {
	if !o.ClusterfileGiven() {
		return usage.Errorf("no Clusterfile: name one with -f")
	}
	if err := errors.Join(o.check(), o.checkDrain(), o.checkParallel()); err != nil {
		return err
	}
	cluster, err := o.Desired()
	if err != nil {
		return err
	}
	exists := cluster.Status.Phase != ""
	if o.dryRun && !exists {
		return o.plan(cmd)
	}
	if exists {
		switch newer, err := o.bringsUpgrade(cluster); {
		case err != nil:
			return err
		case newer && o.members.prune:
			return usage.Errorf("this bundle is an upgrade of the cluster, and --prune may take hosts out of it: do one after the other, the same command without --prune first")
		case newer:
			wanted.Settle(cluster, false)
			return o.upgrade(cmd, cluster)
		}
	}
	wanted.Settle(cluster, o.members.prune)
	o.members.absence.GoOn = exists
	if !o.Yes {
		o.members.confirm = o.confirmDelete(cmd)
	}
	list := steps.Install()
	if len(cluster.Leaving) > 0 {
		list = steps.Apply()
	}
	if o.dryRun {
		return o.preview(cmd, cluster, nil, steps.Preview(list))
	}
	return o.pipeline(cmd, cluster, o.DesiredAgain, list, recordMembers)
}
