// Command sealinstall installs a Kubernetes cluster from the bundle that it is itself: an executable with its payload behind it. It
// contacts the hosts it is given and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/cli"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/onhosts"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/reports"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/wanted"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// version and commit are set by the linker.
var (
	version = "dev"
	commit  string
)

// Exit statuses.
const (
	exitFailed    = 1
	exitUsage     = 2
	exitPreflight = 3
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
		return 0
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
		newRegistryCommand(o), newCareCommand(), newEtcdCommand(), newAPIsCommand(), newNodeCommand(), newVersionCommand(),
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
		return usage.Errorf("%d arguments, expected: %s", len(args), cmd.UseLine())
	}
	return nil
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version, the commit, and the versions of formats", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), cli.Version(
				"sealinstall", version, commit,
				fmt.Sprint("bundle ", bundle.FormatVersion), "Clusterfile "+installer.APIVersion, fmt.Sprint("sync ", storesync.WireVersion),
			))
			return err
		},
	}
}
