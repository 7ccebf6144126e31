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

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/wanted"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

func newRegistryVerifyCommand(o *runOptions) *cobra.Command {
	var from []string
	var ca, user string
	cmd := &cobra.Command{
		Use: "verify [DIR]", Short: "Read every blob of the registry in a directory, and repair what is damaged", Args: maxOneArg,
		Long: `Read every blob of the registry in a directory of this machine (default ` + disk.DefaultRoot + `) and look for those that are named and
not there. They are taken from this bundle, if this program has one or --bundle names one, and from the places that
--from names: another registry's directory, or its URL. Without such a place nothing is changed.`,
		Example: "  ./sealinstall registry verify\n  " + wanted.PasswordVariable + "=… sealinstall registry verify --from https://10.0.0.3:5000 --ca /etc/registry/ca.crt --user admin",
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := storeThere(args)
			if err != nil {
				return err
			}
			var sources []catalog.Source
			for _, place := range from {
				if !strings.Contains(place, "://") {
					sources = append(sources, disk.Open(place))
					continue
				}
				client, err := registryClient(ca, time.Hour)
				if err != nil {
					return err
				}
				r := registry.NewRemote(cmd.Context(), store, place, client)
				r.User, r.Password = user, wanted.EnvironmentPassword()
				sources = append(sources, r)
			}
			done := false
			heal := func(s []catalog.Source) error {
				done = true
				return heal(cmd, store, s)
			}
			err = o.withOwnBundle(func(f *bundle.File) error {
				return heal(append([]catalog.Source{payload.Source(f.Reader)}, sources...))
			})
			if err != nil || done {
				return err
			}
			return heal(sources)
		},
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "directory or URL of a registry to repair from (repeatable)")
	cmd.Flags().StringVar(&ca, "ca", "", "CA certificate file for URLs")
	cmd.Flags().StringVar(&user, "user", "", "user name for URLs; the password is read from "+wanted.PasswordVariable)
	return cmd
}

func heal(cmd *cobra.Command, store *disk.Store, sources []catalog.Source) error {
	found, err := store.Heal(cmd.Context(), sources, nil)
	left := 0
	for _, d := range found {
		what, outcome := "damaged", ""
		if d.Missing {
			what = "missing"
		}
		switch {
		case d.Repaired:
			outcome = ": repaired"
		case d.Err != nil:
			outcome = ": " + strings.ReplaceAll(d.Err.Error(), "\n", "; ")
		}
		if !d.Repaired {
			left++
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s%s\n", what, d.Digest, outcome)
	}
	if err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("%s of %s %s damaged or missing: run sync, or verify with a bundle or --from a place that has what is lacking", count.Of(left, "blob"), store.Root(), count.Word(left, "is", "are"))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the registry in %s is whole\n", store.Root())
	return nil
}

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

// newPingCommand lets the installer ask, on the host itself, whether its registry answers with the right certificate and password.
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
