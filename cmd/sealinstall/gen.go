package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/plan"
	"github.com/sealbuild/sealbuild/installer/steps"
)

func newGenCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "gen", Short: "Print a complete Clusterfile for the flags given", Args: noArgs,
		Long: `Print a complete Clusterfile for the flags given.

It holds the hosts, the images of the bundle, the settings that the images know,
and every kubeadm, kubelet and kube-proxy setting that would be used. Passwords
are not in it.`,
		Example: "  ./sealinstall gen --masters 10.0.0.2-10.0.0.4 --nodes 10.0.0.5 > Clusterfile\n  ./sealinstall apply -f Clusterfile",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.dry(func(r *steps.Run) error {
				text, err := plan.Example(cmd.Context(), r.Site)
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			})
		},
	}
	o.flags(cmd.Flags())
	return cmd
}

// dry opens what a run needs, but contacts no host and keeps no state.
func (o *runOptions) dry(do func(*steps.Run) error) error {
	if err := o.check(); err != nil {
		return err
	}
	o.Harmless = true
	cluster, err := o.Desired()
	if err != nil {
		return err
	}
	return o.withBundle(func(f *bundle.File) error {
		r := steps.New(cluster, f.Reader, steps.Options{}, fleet.Options{Report: installer.Silent()})
		return errors.Join(do(r), r.Close())
	})
}
