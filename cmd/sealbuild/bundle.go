package main

import (
	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/spf13/cobra"
)

func (a *app) bundleCommand() *cobra.Command {
	var output string
	var flags bundleFlags
	c := &cobra.Command{
		Use:   "bundle IMAGE... [-o FILE]",
		Short: "Write a bundle of cluster images that are in the store",
		Long: `Write one self-extracting file that holds the given cluster images and every
container image they need. The rootfs image goes first; the others keep their
order, which is the order in which they are installed.`,
		Example: `  sealbuild bundle kubernetes:v1.36.3 flannel:v0.28.4 shop:1.2 -o site.run
  # signed, in files that fit on a FAT32 stick, without what the site has
  sealbuild bundle shop:1.3 --sign ~/.ssh/id_ed25519 --split 4095MiB --base site.run -o update.run`,
		Args: args(1, -1, "one or more IMAGE names"),
		RunE: func(c *cobra.Command, images []string) error {
			if err := onlyFiles(output, ""); err != nil {
				return err
			}
			request, err := flags.request(c.Context())
			if err != nil {
				return err
			}
			request.Images, request.Output, a.output = images, output, output
			return a.withBuilder(func(b *assemble.Builder) error { return a.write(c, b, request, flags) })
		},
	}
	a.tlsVerify = true
	c.Flags().StringVarP(&output, "output", "o", "./sealinstall", "bundle to write")
	flags.register(c)
	return c
}
