package main

import (
	"fmt"
	"os"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble"
)

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE",
		Short: "Check every byte of a bundle",
		Long: `Read a whole bundle and compare every entry with its digest. Every damaged entry
is printed with its range of bytes; the exit status is then 1.`,
		Example: "  sealbuild verify ./sealinstall",
		Args:    args(1, 1, "one FILE"),
		RunE: func(c *cobra.Command, given []string) error {
			name := given[0]
			fi, err := os.Stat(name)
			if err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			f, err := bundle.OpenFile(name)
			if err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			defer func() { _ = f.Close() }()
			a.progress.Phase("verify "+name, fi.Size())
			damage, err := assemble.VerifyBundle(c.Context(), f.Reader, a.progress)
			if err != nil {
				return fmt.Errorf("verify %s: %w", name, err)
			}
			a.progress.end()
			if len(damage) == 0 {
				_, err := fmt.Fprintf(a.out, "%s: every byte is as it was written (%s, %d images, %d blobs)\n",
					name, humanize.IBytes(uint64(fi.Size())), len(f.Images()), len(f.Blobs()))
				return err
			}
			for _, d := range damage {
				fmt.Fprintf(a.out, "damaged: %s, bytes %d to %d: %s\n", d.Entry, d.Offset, d.Offset+d.Length, d.Reason)
			}
			return fmt.Errorf("verify %s: %d damaged entries; copy the file again", name, len(damage))
		},
	}
}
