package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry"
	"github.com/spf13/cobra"
)

func newRegistryVerifyCommand(o *runOptions) *cobra.Command {
	var from []string
	var ca, user string
	cmd := &cobra.Command{
		Use: "verify [DIR]", Short: "Read every blob of the registry in a directory, and repair what is damaged", Args: maxOneArg,
		Long: `Read every blob of the registry in a directory of this machine (default ` + registry.DefaultRoot + `) and look for those that are named and
not there. They are taken from this bundle, if this program has one or --bundle names one, and from the places that
--from names: another registry's directory, or its URL. Without such a place nothing is changed.`,
		Example: "  ./sealinstall registry verify\n  " + passwordVariable + "=… sealinstall registry verify --from https://10.0.0.3:5000 --ca /etc/registry/ca.crt --user admin",
		RunE: func(cmd *cobra.Command, args []string) error {
			store := registry.OpenStore(dirArg(args))
			var sources []registry.Source
			for _, place := range from {
				if !strings.Contains(place, "://") {
					sources = append(sources, registry.OpenStore(place))
					continue
				}
				client, err := registryClient(ca, time.Hour)
				if err != nil {
					return err
				}
				r := registry.NewRemote(cmd.Context(), store, place, client)
				r.User, r.Password = user, environmentPassword()
				sources = append(sources, r)
			}
			done := false
			heal := func(s []registry.Source) error {
				done = true
				return heal(cmd, store, s)
			}
			err := o.withOwnBundle(func(f *bundle.File) error {
				return heal(append([]registry.Source{payload.Source(f.Reader)}, sources...))
			})
			if err != nil || done {
				return err
			}
			return heal(sources)
		},
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "directory or URL of a registry to repair from (repeatable)")
	cmd.Flags().StringVar(&ca, "ca", "", "CA certificate file for URLs")
	cmd.Flags().StringVar(&user, "user", "", "user name for URLs; the password is read from "+passwordVariable)
	return cmd
}

func heal(cmd *cobra.Command, store *registry.Store, sources []registry.Source) error {
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
		return fmt.Errorf("%d blobs of %s are damaged or missing: run sync, or verify with a bundle or --from a place that has them", left, store.Root())
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the registry in %s is whole\n", store.Root())
	return nil
}
