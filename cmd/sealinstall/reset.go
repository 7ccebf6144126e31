package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps"
	"github.com/spf13/cobra"
)

func newResetCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "reset", Short: "Take the cluster apart and give back clean hosts", Args: noArgs,
		Long: `Take the cluster apart and give back clean hosts.

Hosts and settings are those of the cluster that was made, unless --masters and
--nodes say otherwise. The data of the cluster is lost.`,
		Example: "  ./sealinstall reset --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.confirm(cmd); err != nil {
				return err
			}
			return o.pipeline(cmd, steps.Reset(), func(_ context.Context, r *steps.Run, _ []installer.Timing, err error) error {
				if err != nil {
					return nil // the state is kept: it is what the next try needs
				}
				return r.Forget()
			})
		},
	}
	o.hostFlags(cmd.Flags())
	return cmd
}

// confirm asks for the cluster's name, since nothing can be undone.
func (o *runOptions) confirm(cmd *cobra.Command) error {
	if o.yes {
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "this destroys cluster %q and its data; type its name to go on: ", o.cluster)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != o.cluster {
		return usageError{fmt.Errorf("not confirmed: nothing was done (use --yes where nobody can answer)")}
	}
	return nil
}
