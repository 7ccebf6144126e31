package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry"
)

func newServeCommand(o *runOptions) *cobra.Command {
	var addr, cert, key string
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve the bundle's images in place, as a read-only registry", Args: noArgs,
		Example: "  ./sealinstall serve --addr 127.0.0.1:5000\n  skopeo inspect --tls-verify=false docker://127.0.0.1:5000/registry.k8s.io/pause:3.10.2",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := plainHTTPOnLoopbackOnly(addr, cert); err != nil {
				return err
			}
			config, err := tlsConfig(cert, key)
			if err != nil {
				return err
			}
			f, err := o.openBundle()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			catalog, err := payload.Catalog(cmd.Context(), f.Reader)
			if err != nil {
				return err
			}
			h, err := registry.NewHandler(cmd.Context(), registry.HandlerOptions{Catalog: &catalog, Source: payload.Source(f.Reader)})
			if err != nil {
				return err
			}
			return registry.Serve(cmd.Context(), addr, config, h, func(a net.Addr) {
				fmt.Fprintf(cmd.ErrOrStderr(), "serving %s on %s\n", count.Of(len(catalog.Repositories), "repository", "repositories"), a)
			})
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:5000", "address to listen on")
	cmd.Flags().StringVar(&cert, "tls-cert", "", "certificate file: serve HTTPS")
	cmd.Flags().StringVar(&key, "tls-key", "", "key file of the certificate")
	return cmd
}

// plainHTTPOnLoopbackOnly keeps images from being served to others without TLS by a slip.
func plainHTTPOnLoopbackOnly(addr, cert string) error {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return usage.Errorf("--addr %q: expected HOST:PORT", addr)
	}
	if ip := net.ParseIP(name); cert == "" && name != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usage.Errorf("--addr %s is not loopback: give --tls-cert and --tls-key", addr)
	}
	return nil
}

func tlsConfig(cert, key string) (*tls.Config, error) {
	if (cert == "") != (key == "") {
		return nil, usage.Errorf("--tls-cert and --tls-key go together")
	}
	if cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, usage.Errorf("read the certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
