package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/installer/agent/verbs"
)

// newNodeCommand is what an agent runs on a host. It is hidden: its input and
// output are for machines.
func newNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "node VERB", Hidden: true, Args: oneArg,
		Short: "Carry out a request of an installer on this host",
		RunE: func(cmd *cobra.Command, args []string) error {
			return verbs.Main(cmd.Context(), args[0], os.Stdin, os.Stdout)
		},
	}
}
