package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/wanted"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/steps"
	"github.com/sealbuild/sealbuild/installer/upgrade"
)

func newUpgradeCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Bring the cluster to what this bundle brings", Args: noArgs,
		Long: `Bring the cluster to what this bundle brings: a newer Kubernetes, by one minor
version or a patch; the same Kubernetes with another rootfs; other versions of
applications.

It looks first, and is refused (exit status 3) before anything is changed where
something stands in the way. What etcd holds is saved on every master, and all
that is new is brought beside what runs, to all hosts. Then masters follow one
after the other, then nodes, each drained before. A host that does not live with
what is new gets back what it ran before, and the upgrade stops there.

After an interruption the same command goes on. rollback goes back, as long as
not all masters have followed.`,
		Example: "  ./new.run upgrade --dry-run\n  ./new.run upgrade\n  ./new.run upgrade --parallel-nodes 10% --drain-timeout 10m",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(o.checkDrain(), o.checkParallel()); err != nil {
				return err
			}
			cluster, err := o.existing()
			if err != nil {
				return err
			}
			return o.upgrade(cmd, cluster)
		},
	}
	f := cmd.Flags()
	o.hostFlags(f)
	o.SettingsFlags(f)
	o.checkFlags(f)
	o.previewFlag(f)
	o.yesFlag(f, "do not ask")
	o.parallelFlag(f)
	f.DurationVar(&o.members.drainTimeout, "drain-timeout", 5*time.Minute, "longest time for the pods of one host to move away")
	f.BoolVar(&o.members.settings.TakeOver, "take-over", false, "overwrite settings that somebody has changed by hand on hosts or in the cluster")
	return cmd
}

func newRollbackCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rollback", Short: "Take back an upgrade that has not come to its end", Args: noArgs,
		Long: `Take back an upgrade that has not come to its end, with the bundle that it was
begun with.

Hosts that have been upgraded get back what they ran before, the one that came
last first. Once all masters run a newer minor version of Kubernetes there is no
way back for them: the cluster stores what the version before cannot read.`,
		Example: "  ./new.run rollback --dry-run\n  ./new.run rollback",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := o.existing()
			if err != nil {
				return err
			}
			return o.upgradeWith(cmd, cluster, steps.Rollback(), "these hosts go back:")
		},
	}
	f := cmd.Flags()
	o.hostFlags(f)
	o.checkFlags(f)
	o.previewFlag(f)
	o.yesFlag(f, "do not ask")
	return cmd
}

func (o *runOptions) parallelFlag(f *pflag.FlagSet) {
	f.StringVar(&o.members.parallelNodes, "parallel-nodes", "1", "how many nodes are upgraded at the same time: a number, or a percentage of the nodes as 10%")
}

func (o *runOptions) checkParallel() error {
	if _, err := upgrade.AtOnce(o.members.parallelNodes, 1); err != nil {
		return usage.Errorf("--parallel-nodes %w", err)
	}
	return nil
}

func (o *runOptions) existing() (*installer.Cluster, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return o.Existing()
}

// upgrade brings a recorded cluster to what the bundle brings.
func (o *runOptions) upgrade(cmd *cobra.Command, cluster *installer.Cluster) error {
	o.members.settings.Apply = true
	return o.upgradeWith(cmd, cluster, steps.Upgrade(), "these hosts are upgraded:")
}

// bringsUpgrade tells whether the bundle is an upgrade of the recorded cluster. It asks no host.
func (o *runOptions) bringsUpgrade(c *installer.Cluster) (bool, error) {
	file, err := o.openBundle()
	if err != nil {
		return false, err
	}
	defer file.Close()
	brings := payload.New(file.Reader)
	brings.OntoCluster = true
	if err := brings.Describe(c); err != nil {
		return false, err
	}
	return ledger.BringsUpgrade(c, brings), nil
}

// upgradeWith runs a pipeline that brings the recorded cluster to what the bundle brings, or back.
func (o *runOptions) upgradeWith(cmd *cobra.Command, cluster *installer.Cluster, list []steps.Step, what string) error {
	o.members.upgrade = true
	if o.dryRun {
		return o.preview(cmd, cluster, o.ExistingAgain, steps.Preview(list))
	}
	if !o.Yes {
		o.members.confirmUpgrade = func(lines []string) error {
			text := what + "\n  " + strings.Join(lines, "\n  ") + "\ntype yes to go on: "
			if wanted.Confirmed(cmd.ErrOrStderr(), installer.Plain(text), "yes") {
				return nil
			}
			return usage.Errorf("not confirmed: nothing was done (use --yes where nobody can answer)")
		}
	}
	return o.pipeline(cmd, cluster, o.ExistingAgain, list, recorded)
}
