package main

import (
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle/assemble"
)

func (a *app) bundleCommand() *cobra.Command {
	var output, stub string
	var verify bool
	c := &cobra.Command{
		Use:   "bundle IMAGE... [-o FILE]",
		Short: "Write a bundle of cluster images that are in the store",
		Long: `Write one self-extracting file that holds the given cluster images and every
container image they need. The rootfs image goes first; the others keep their
order, which is the order in which they are installed.`,
		Example: `  sealbuild bundle kubernetes:v1.36.3 flannel:v0.28.4 shop:1.2 -o site.run`,
		Args:    args(1, -1, "one or more IMAGE names"),
		RunE: func(c *cobra.Command, images []string) error {
			s, err := a.openStore()
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			b, err := a.builder(s)
			if err != nil {
				return err
			}
			return a.write(c, b, assemble.BundleRequest{Images: images, Output: output, Stub: stub, NoVerify: !verify})
		},
	}
	a.tlsVerify = true
	c.Flags().StringVarP(&output, "output", "o", "./sealinstall", "bundle to write")
	stubFlags(c, &stub, &verify)
	return c
}
