package main

import (
	"os"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/spf13/cobra"
)

// newNodeCommand is what an agent runs on a host. It is hidden: its input and
// output are for machines.
func newNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "node VERB", Hidden: true, Args: oneArg,
		Short: "Carry out a request of an installer on this host",
		RunE: func(cmd *cobra.Command, args []string) error {
			return agent.Main(cmd.Context(), args[0], os.Stdin, os.Stdout)
		},
	}
}
