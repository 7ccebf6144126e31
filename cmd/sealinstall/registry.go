package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/registry"
	"github.com/spf13/cobra"
)

func newRegistryCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "registry", Short: "The registry of a node", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(
		&cobra.Command{
			Use: "serve CONFIG", Short: "Serve the registry that a distribution configuration file describes", Args: oneArg,
			Example: "  sealinstall registry serve /etc/registry/registry_config.yml",
			RunE: func(cmd *cobra.Command, args []string) error {
				return registry.ServeConfig(cmd.Context(), args[0])
			},
		},
		newPingCommand(),
	)
	return cmd
}

// newPingCommand lets the installer ask, on the host itself, whether its
// registry answers with the right certificate and password.
func newPingCommand() *cobra.Command {
	var ca, user string
	cmd := &cobra.Command{
		Use: "ping URL", Hidden: true, Args: oneArg,
		Short: "Ask a registry whether it answers; the password is read from stdin",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := bufio.NewReader(os.Stdin).ReadString('\n')
			if err != nil {
				return fmt.Errorf("read the password from stdin: %w", err)
			}
			pem, err := os.ReadFile(ca)
			if err != nil {
				return err
			}
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(pem) {
				return fmt.Errorf("%s holds no certificate", ca)
			}
			client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, strings.TrimSuffix(args[0], "/")+"/v2/", nil)
			if err != nil {
				return err
			}
			req.SetBasicAuth(user, strings.TrimSpace(password))
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("the registry answers %s", resp.Status)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&ca, "ca", "", "CA certificate file")
	cmd.Flags().StringVar(&user, "user", "", "user name")
	return cmd
}
