package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newApplyCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply -f CLUSTERFILE", Short: "Make the cluster what a Clusterfile says", Args: noArgs,
		Long: `Make the cluster what a Clusterfile says.

It is compared with what is there, and only the difference is done. Flags lie
over the file. sealinstall gen prints a complete file to begin with.`,
		Example: `  ./sealinstall gen --masters 10.0.0.2 > Clusterfile
  ./sealinstall apply -f Clusterfile --dry-run
  ./sealinstall apply -f site.yaml --values oslo.yaml --set vip=10.1.0.9`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.clusterfile == "" {
				return usageError{errors.New("no Clusterfile: name one with -f")}
			}
			return o.run(cmd)
		},
	}
	o.flags(cmd.Flags())
	o.installFlags(cmd.Flags())
	return cmd
}
