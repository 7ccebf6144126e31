// Command sealinstall installs a Kubernetes cluster from the bundle that it is itself: an executable with its payload behind it. It
// contacts the hosts it is given and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/cli"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/onhosts"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/reports"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/wanted"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// version and commit are set by the linker.
var (
	version = "dev"
	commit  string
)

// Exit statuses of every command. exec on one host ends with that of its program; status ends with 1 where the cluster is not
// healthy, and with 3 where no host answers or none is known.
const (
	exitDone      = 0 // done, or nothing to do
	exitFailed    = 1 // failed; the message names host, step, cause and remedy, and the same command goes on
	exitUsage     = 2 // the command line is wrong; nothing was done
	exitPreflight = 3 // problems were found before anything was changed, and nothing was
)

func main() { os.Exit(run()) }

func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		say("stopping; press Ctrl-C again to stop at once")
		cancel(installer.ErrInterrupted)
		<-signals
		if v := onScreen.Load(); v != nil {
			v.Close()
		}
		os.Exit(exitFailed)
	}()
	wanted.TakeSecrets()
	err := newRoot().ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if own, ok := errors.AsType[*onhosts.ExitStatus](err); ok {
		return own.Code
	}
	if ran, ok := errors.AsType[*runError](err); !ok || !ran.told {
		fmt.Fprintf(os.Stderr, "error: %s\n", installer.Tell(err))
	}
	return exitStatus(err)
}

func exitStatus(err error) int {
	var called usage.Error
	var network *installer.NetworkError
	var preflight *preflight.Error
	var nobody cannotAsk
	switch {
	case errors.As(err, &nobody):
		return exitPreflight
	case errors.As(err, &called), errors.As(err, &network):
		return exitUsage
	case errors.As(err, &preflight):
		return exitPreflight
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	o := &runOptions{}
	o.First = func(cluster string) error {
		return o.withBundle(func(f *bundle.File) error { return site.NeedsCluster(f.Reader, cluster) })
	}
	root := &cobra.Command{
		Use:   "sealinstall",
		Short: "Install a Kubernetes cluster from this file, with no network",
		Long: `Install a Kubernetes cluster from this file, with no network.

This file is an installer with its bundle behind it. It checks all hosts, unpacks
the cluster images, fills a registry on every master, and makes or completes the
cluster. Run it again after any interruption: it goes on where it was.`,
		Example: `  ./sealinstall --masters 10.0.0.2,10.0.0.3,10.0.0.4 --nodes 10.0.0.5-10.0.0.9 -i ~/.ssh/id_ed25519
  SEALINSTALL_PASSWORD=… ./sealinstall --masters 10.0.0.2 --nodes 10.0.0.3:2222
  ./sealinstall --local              # this machine alone
  ./sealinstall verify               # check every byte of the bundle`,
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		RunE:          func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	root.PersistentFlags().StringVar(&o.bundle, "bundle", "", "bundle file to use instead of the one behind this program")
	root.PersistentFlags().StringArrayVar(&o.verifyKeys, "verify-key", nil, "file of public keys or allowed_signers: the bundle must be signed by one of them (default: those in "+trustDir+", if any)")
	root.SetFlagErrorFunc(unknownFlag)
	o.flags(root.Flags())
	o.installFlags(root.Flags())
	root.AddCommand(
		newRunCommand(o), newApplyCommand(o), newPlanCommand(o), newGenCommand(o),
		newAddCommand(o), newDeleteCommand(o), newUpgradeCommand(o), newRollbackCommand(o), newResetCommand(o), newCertCommand(o), newStatusCommand(o),
		reports.Command(version),
		newVerifyCommand(o), newListCommand(o), newInspectCommand(o), newExtractCommand(o), newInventoryCommand(o), newServeCommand(o),
		newRegistryCommand(o), newCareCommand(), newEtcdCommand(), newAPIsCommand(), newNodeCommand(), newVersionCommand(), cli.TreeCommand(),
	)
	root.AddCommand(onhosts.Commands(o)...)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			refuseArgs(c)
		}
	}
	return root
}

// refuseArgs gives commands that are not ours the status of our own when they are called wrongly.
func refuseArgs(c *cobra.Command) {
	c.Args = noArgs
	if !c.Runnable() {
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, sub := range c.Commands() {
		refuseArgs(sub)
	}
}

// oneArg asks for exactly one argument.
func oneArg(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage.Errorf("%s, expected: %s", count.Of(len(args), "argument"), cmd.UseLine())
	}
	return nil
}

func newVersionCommand() *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, the commit, and the versions of formats", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkForm(form); err != nil {
				return err
			}
			return cli.NewBuild("sealinstall", version, commit, map[string]string{
				"agent": strconv.Itoa(agent.Protocol), "bundle": strconv.Itoa(bundle.FormatVersion), "clusterfile": installer.APIVersion,
				"journal": strconv.Itoa(journal.Version), "progress": strconv.Itoa(progress.Version), "sync": strconv.Itoa(storesync.WireVersion),
			}).Write(cmd.OutOrStdout(), form)
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", "text", "text or json")
	return cmd
}
