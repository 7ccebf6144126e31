package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/ground/count"
)

func (a *app) verifyCommand() *cobra.Command {
	var keys []string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check every byte of a bundle",
		Long: `Read a whole bundle, in parts or not, and compare every entry with its digest.
Every damaged entry is printed with its range of bytes; the exit status is then
1. With --verify-key it must be signed, too, by one of the keys given.`,
		Example: "  sealbuild verify ./sealinstall\n  sealbuild verify ./sealinstall --verify-key release.pub",
		Args:    args(1, 1, "one FILE"),
		RunE: func(c *cobra.Command, given []string) (err error) {
			name := given[0]
			f, err := bundle.OpenFile(name)
			if err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			signed := ""
			if len(keys) > 0 {
				trust, err := bundle.LoadTrust(keys...)
				if err != nil {
					return &usageError{fmt.Errorf("--verify-key: %w", err)}
				}
				who, err := trust.Check(f.Reader, time.Now())
				if err != nil {
					return fmt.Errorf("verify %s: %w", name, err)
				}
				signed = ", signed by " + who
			}
			a.progress.Phase("verify "+name, f.Size())
			damage, err := write.Verify(c.Context(), f.Reader, a.progress)
			if err != nil {
				return fmt.Errorf("verify %s: %w", name, err)
			}
			a.progress.end(nil)
			if len(damage) == 0 {
				_, err := fmt.Fprintf(a.out, "%s: every byte is as it was written (%s, %s, %s)%s\n",
					name, humanize.IBytes(uint64(f.Size())), count.Of(len(f.Images()), "image"), count.Of(len(f.Blobs()), "blob"), signed)
				return err
			}
			for _, d := range damage {
				part := ""
				if len(f.Parts()) > 1 {
					part = fmt.Sprintf(" (in %s)", strings.Join(f.Holding(d.Offset, d.Length), ", "))
				}
				fmt.Fprintf(a.out, "damaged: %s, bytes %d to %d%s: %s\n", d.Entry, d.Offset, d.Offset+d.Length, part, d.Reason)
			}
			return fmt.Errorf("verify %s: %s; copy the file again", name, count.Of(len(damage), "damaged entry", "damaged entries"))
		},
	}
	c.Flags().StringArrayVar(&keys, "verify-key", nil, "file of public keys or allowed_signers: the bundle must be signed by one of them")
	return c
}
