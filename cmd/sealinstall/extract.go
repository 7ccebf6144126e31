package main

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/spf13/cobra"
)

func newExtractCommand(o *runOptions) *cobra.Command {
	var images []string
	var blob string
	cmd := &cobra.Command{
		Use: "extract DIR", Short: "Unpack the bundle, or some of its images, as an OCI image layout", Args: oneArg,
		Long: `Unpack the bundle, or some of its images, as an OCI image layout that skopeo,
crane and oras read. DIR must be empty or not exist. With --blob, one blob is
written to a file that must not exist. Every byte is checked.`,
		Example: `  ./sealinstall extract layout
  ./sealinstall extract --image registry.k8s.io/pause:3.10.2 pause
  skopeo copy oci:pause:registry.k8s.io/pause:3.10.2 docker://registry.example/pause:3.10.2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withBundle(func(f *bundle.File) error {
				if blob != "" {
					return f.ExtractBlob(cmd.Context(), digest.Digest(blob), args[0], nil)
				}
				wanted, err := pick(f.Images(), images)
				if err != nil {
					return err
				}
				return f.ExtractLayout(cmd.Context(), args[0], wanted, nil)
			})
		},
	}
	cmd.Flags().StringArrayVar(&images, "image", nil, "an image by its full name, as list prints it (repeatable; default all)")
	cmd.Flags().StringVar(&blob, "blob", "", "write this blob (sha256:…) to the file DIR instead")
	cmd.MarkFlagsMutuallyExclusive("image", "blob")
	return cmd
}

// pick finds images by name; nil stands for all.
func pick(all []bundle.Image, names []string) ([]bundle.Image, error) {
	var wanted []bundle.Image
	var missing []string
	for _, name := range names {
		found := false
		for _, i := range all {
			if i.Name == name {
				wanted, found = append(wanted, i), true
			}
		}
		if !found {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the bundle does not hold %s; list shows what it holds", strings.Join(missing, ", "))
	}
	return wanted, nil
}
