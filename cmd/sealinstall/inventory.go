package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/spf13/cobra"
)

func newInventoryCommand(o *runOptions) *cobra.Command {
	var dir, form string
	cmd := &cobra.Command{
		Use: "inventory", Short: "Print which blobs this host's registry, or a bundle, has", Args: noArgs,
		Long: `Print which blobs this host's registry has, or, with --bundle, those of a bundle's
container images. Carried to the connected side, the list makes a smaller bundle:
sealbuild bundle --have FILE leaves out what it names. Take one of every master:
what all of them have is left out.`,
		Example: `  ./sealinstall inventory > master-1.inventory
  ./sealinstall inventory --bundle old.run > old.inventory`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkForm(form); err != nil {
				return err
			}
			have := bundle.Inventory{}
			if o.bundle != "" && !cmd.Flags().Changed("registry") {
				err := o.withBundle(func(f *bundle.File) error {
					images, err := payload.Catalog(cmd.Context(), f.Reader)
					for _, b := range images.Blobs() {
						have[b.Digest] = b.Size
					}
					return err
				})
				if err != nil {
					return err
				}
			} else {
				if _, err := os.Stat(dir); err != nil {
					return fmt.Errorf("%w: run this on a registry host (a master), or name its directory with --registry", err)
				}
				blobs, err := disk.Open(dir).Blobs(cmd.Context())
				if err != nil {
					return err
				}
				for _, b := range blobs {
					have[b.Digest] = b.Size
				}
			}
			if form == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(have)
			}
			_, err := have.WriteTo(cmd.OutOrStdout())
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "registry", disk.DefaultRoot, "directory of the host's registry")
	cmd.Flags().StringVarP(&form, "output", "o", "text", "text (for sealbuild --have) or json")
	return cmd
}
