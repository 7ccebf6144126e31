package main

import (
	"github.com/sealbuild/sealbuild/registry"
	"github.com/spf13/cobra"
)

func newRegistryCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{Use: "registry", Short: "The registry of a node", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(
		&cobra.Command{
			Use: "serve CONFIG", Short: "Serve the registry that a distribution configuration file describes", Args: oneArg,
			Example: "  sealinstall registry serve /etc/registry/registry_config.yml",
			RunE: func(cmd *cobra.Command, args []string) error {
				return registry.ServeConfig(cmd.Context(), args[0])
			},
		},
		newRegistrySyncCommand(o), newRegistryGCCommand(o), newRegistryVerifyCommand(o),
		newPingCommand(),
	)
	return cmd
}
