package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/containers/common/pkg/auth"
	"github.com/containers/image/v5/types"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (a *app) loginCommand() *cobra.Command {
	var o auth.LoginOptions
	c := &cobra.Command{
		Use:   "login [-u USER] [--password-stdin] REGISTRY",
		Short: "Check a user and password with a registry and keep them for pull, push and builds",
		Long: `Check a user and password with a registry and keep them in the credentials file
(--authfile, $REGISTRY_AUTH_FILE, else where podman keeps it) or in the
credential helper configured there. podman, buildah and skopeo read the same
file, and docker's is read as well. A password is read from the terminal or
from standard input, never from the command line.`,
		Example: `  sealbuild login registry.example.com
  sealbuild login -u ci --password-stdin registry.example.com < token`,
		Args: args(1, 1, "one REGISTRY"),
		RunE: func(c *cobra.Command, registries []string) error {
			if !o.StdinPassword && !term.IsTerminal(int(os.Stdin.Fd())) {
				return usagef("login: there is no terminal to ask for the password on: give it on standard input with --password-stdin")
			}
			if o.StdinPassword && o.Username == "" {
				return usagef("login: --password-stdin needs --username")
			}
			sys, err := a.credentials(true)
			if err != nil {
				return err
			}
			o.AuthFile, o.CertDir = sys.AuthFilePath, a.certDir
			o.Stdin, o.Stdout, o.AcceptRepositories = os.Stdin, a.err, true
			if err := auth.Login(c.Context(), sys, &o, registries); err != nil {
				if _, ok := errors.AsType[auth.ErrNewCredentialsInvalid](err); ok {
					return fmt.Errorf("log in to %s: user or password refused: %w", registries[0], err)
				}
				if request, ok := errors.AsType[*url.Error](err); ok {
					return fmt.Errorf("log in to %s: no registry answers there: %w (check its name, the network and the proxy)", registries[0], request.Err)
				}
				return fmt.Errorf("log in to %s: %w", registries[0], err)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&o.Username, "username", "u", "", "user (default: asked for)")
	c.Flags().BoolVar(&o.StdinPassword, "password-stdin", false, "read the password from standard input")
	a.registryFlags(c)
	_ = c.Flags().MarkHidden("jobs")
	return c
}

func (a *app) logoutCommand() *cobra.Command {
	var o auth.LogoutOptions
	c := &cobra.Command{
		Use:     "logout [REGISTRY]",
		Short:   "Forget the user and password of a registry, or of all with --all",
		Example: "  sealbuild logout registry.example.com\n  sealbuild logout --all",
		Args: func(c *cobra.Command, given []string) error {
			if o.All {
				return args(0, 0, "no REGISTRY beside --all")(c, given)
			}
			return args(1, 1, "one REGISTRY, or --all")(c, given)
		},
		RunE: func(_ *cobra.Command, registries []string) error {
			sys, err := a.credentials(false)
			if err != nil {
				return err
			}
			o.AuthFile, o.Stdout, o.AcceptRepositories = sys.AuthFilePath, io.Writer(a.err), true
			if err := auth.Logout(sys, &o, registries); err != nil {
				return fmt.Errorf("log out: %w", err)
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&o.All, "all", "a", false, "forget every registry")
	c.Flags().StringVar(&a.authFile, "authfile", "", "credentials file (default $REGISTRY_AUTH_FILE, then where podman keeps it)")
	return c
}

// credentials is the configuration for login and logout. To log in, the credentials file need not exist.
func (a *app) credentials(make bool) (*types.SystemContext, error) {
	file := a.authFile
	if file == "" {
		file = os.Getenv("REGISTRY_AUTH_FILE")
	}
	if _, err := os.Stat(file); make && file != "" && errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
			return nil, fmt.Errorf("make credentials file: %w", err)
		}
	}
	return a.system()
}
