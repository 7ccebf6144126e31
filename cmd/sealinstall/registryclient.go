package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// registryClient trusts the certificates in a file, or those of the system if there is none. Proxies in the environment are not
// used.
func registryClient(ca string, timeout time.Duration) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", ca)
		}
	}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{TLSClientConfig: config}}, nil
}

// newPingCommand lets the installer ask, on the host itself, whether its
// registry answers with the right certificate and password.
func newPingCommand() *cobra.Command {
	var ca, user, certificate string
	cmd := &cobra.Command{
		Use: "ping URL", Hidden: true, Args: oneArg,
		Short: "Ask a registry whether it answers; the password is read from stdin",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := bufio.NewReader(os.Stdin).ReadString('\n')
			if err != nil {
				return fmt.Errorf("read the password from stdin: %w", err)
			}
			client, err := registryClient(ca, 5*time.Second)
			if err != nil {
				return err
			}
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, strings.TrimSuffix(args[0], "/")+"/v2/", nil)
			if err != nil {
				return err
			}
			req.SetBasicAuth(user, strings.TrimSuffix(password, "\n")) // blanks may be part of it
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("the registry answers %s", resp.Status)
			}
			return shows(resp.TLS, certificate)
		},
	}
	cmd.Flags().StringVar(&ca, "ca", "", "CA certificate file")
	cmd.Flags().StringVar(&certificate, "certificate", "", "file of the certificate that it has to show")
	cmd.Flags().StringVar(&user, "user", "", "user name")
	return cmd
}

// shows checks that the other side of a connection has the certificate in a file, and not an older one.
func shows(state *tls.ConnectionState, file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return fmt.Errorf("%s holds no certificate", file)
	case state == nil || len(state.PeerCertificates) == 0:
		return errors.New("the registry shows no certificate")
	case !bytes.Equal(block.Bytes, state.PeerCertificates[0].Raw):
		return fmt.Errorf("the registry shows another certificate than the one in %s, until %s", file, state.PeerCertificates[0].NotAfter.Format(time.DateOnly))
	}
	return nil
}
