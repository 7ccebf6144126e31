package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps"
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
			if err := o.tellLeftOut(cmd); err != nil {
				return err
			}
			return o.run(cmd)
		},
	}
	o.flags(cmd.Flags())
	return cmd
}

// tellLeftOut warns of hosts that the cluster has and the file has not: nothing
// is taken out of a cluster because a file does not name it.
func (o *runOptions) tellLeftOut(cmd *cobra.Command) error {
	c, err := o.desired()
	if err != nil {
		return err
	}
	dir, err := installer.StateDir(c.Name)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, steps.ClusterfileName)
	if _, err := os.Stat(name); err != nil {
		return nil // there is no cluster of that name yet
	}
	recorded, err := readRecorded(name)
	if err != nil {
		return err
	}
	asked := map[string]bool{}
	for _, h := range c.Hosts {
		asked[h.IP.String()] = true
	}
	for _, h := range recorded.Hosts {
		if !asked[h.IP.String()] {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: host %s is in cluster %s and not in %s: it stays as it is\n", h.IP, c.Name, o.clusterfile)
		}
	}
	return nil
}
