package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent/verbs"
	"github.com/sealbuild/sealbuild/installer/compat/apis"
	"github.com/sealbuild/sealbuild/installer/etcd"
)

// newNodeCommand is what an agent runs on a host. It is hidden: its input and output are for machines.
func newNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "node VERB", Hidden: true, Args: oneArg,
		Short: "Carry out a request of an installer on this host",
		RunE: func(cmd *cobra.Command, args []string) error {
			return verbs.Main(cmd.Context(), args[0], os.Stdin, os.Stdout)
		},
	}
}

// newEtcdCommand lets the installer ask, on a master, the member of etcd that runs there. It is hidden: its output is for machines.
func newEtcdCommand() *cobra.Command {
	var endpoint, certs, peer string
	cmd := &cobra.Command{Use: "etcd", Hidden: true, Args: noArgs, Short: "Ask this master's member of etcd", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	members := &cobra.Command{
		Use: "members", Args: noArgs, Short: "List the members and their states as JSON",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := etcd.New(endpoint, certs)
			if err != nil {
				return err
			}
			return printMembers(cmd, c.Cluster)
		},
	}
	own := &cobra.Command{
		Use: "own", Args: noArgs, Short: "List the members, and the state of this master's own, as JSON",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := etcd.New(endpoint, certs)
			if err != nil {
				return err
			}
			return printMembers(cmd, c.Own)
		},
	}
	yield := &cobra.Command{
		Use: "yield", Args: noArgs, Short: "Give the leadership to another member if this master's own has it, and list the members as JSON",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := etcd.New(endpoint, certs)
			if err != nil {
				return err
			}
			return printMembers(cmd, c.Yield)
		},
	}
	remove := &cobra.Command{
		Use: "remove --peer IP", Args: noArgs, Short: "Take the member of a host out, and list the others as JSON",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := netip.ParseAddr(peer); err != nil {
				return usage.Errorf("--peer %q: expected an address", peer)
			}
			c, err := etcd.New(endpoint, certs)
			if err != nil {
				return err
			}
			if err := c.Remove(cmd.Context(), peer); err != nil {
				return err
			}
			return printMembers(cmd, c.Cluster)
		},
	}
	remove.Flags().StringVar(&peer, "peer", "", "address at which the other members reach it")
	cmd.PersistentFlags().StringVar(&endpoint, "endpoint", etcd.Endpoint, "where this master's member answers")
	cmd.PersistentFlags().StringVar(&certs, "certs", etcd.CertsDir, "directory of etcd's certificates")
	cmd.AddCommand(members, own, yield, remove)
	return cmd
}

// newAPIsCommand lets the installer ask, on a master, the API server there for what uses versions that are not served any more. It
// is hidden: its output is for machines.
func newAPIsCommand() *cobra.Command {
	var server, kubeconfig string
	var minor int
	cmd := &cobra.Command{Use: "apis", Hidden: true, Args: noArgs, Short: "Ask this master's API server", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	ask := func(look func(ctx context.Context, c *apis.Client, f *apis.Found) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			identity, err := os.ReadFile(kubeconfig)
			if err != nil {
				return err
			}
			c, err := apis.New(server, identity)
			if err != nil {
				return fmt.Errorf("%s: %w", kubeconfig, err)
			}
			var found apis.Found
			if err := look(cmd.Context(), c, &found); err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(found)
		}
	}
	stored := &cobra.Command{
		Use: "stored", Args: noArgs, Short: "List stored objects and releases of Helm that use versions which are not served any more, as JSON",
		RunE: ask(func(ctx context.Context, c *apis.Client, f *apis.Found) (err error) {
			table, _ := apis.Removed()
			*f, err = c.Stored(ctx, table.In(minor))
			return err
		}),
	}
	requested := &cobra.Command{
		Use: "requested", Args: noArgs, Short: "List what this API server was asked for and that is not served any more, as JSON",
		RunE: ask(func(ctx context.Context, c *apis.Client, f *apis.Found) (err error) {
			f.Requests, err = c.Requested(ctx, minor)
			return err
		}),
	}
	cmd.PersistentFlags().StringVar(&server, "server", "https://127.0.0.1:6443", "the API server")
	cmd.PersistentFlags().StringVar(&kubeconfig, "kubeconfig", installer.AdminConf, "a kubeconfig of kubeadm's, for the identity")
	cmd.PersistentFlags().IntVar(&minor, "minor", 0, "minor version of Kubernetes: 36 of v1.36.3")
	cmd.AddCommand(stored, requested)
	return cmd
}

func printMembers(cmd *cobra.Command, ask func(context.Context) (etcd.Cluster, error)) error {
	cluster, err := ask(cmd.Context())
	if err != nil {
		return err
	}
	return json.NewEncoder(cmd.OutOrStdout()).Encode(cluster)
}
