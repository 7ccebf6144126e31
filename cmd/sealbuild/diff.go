package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/ground/count"
)

func (a *app) diffCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what bundle B has that bundle A has not",
		Long: `Compare two bundles by their indexes: images added, removed and changed, and how
many bytes of B are in A already.`,
		Example: "  sealbuild diff site-1.run site-2.run\n  sealbuild diff site-1.run site-2.run -o json",
		Args:    args(2, 2, "two FILEs"),
		RunE: func(_ *cobra.Command, given []string) (err error) {
			if err := checkOutput(format); err != nil {
				return err
			}
			var open [2]*bundle.File
			for n, name := range given {
				if open[n], err = bundle.OpenFile(name); err != nil {
					return fmt.Errorf("diff: %w", err)
				}
				defer func() { err = errors.Join(err, open[n].Close()) }()
			}
			d := bundle.Diff(open[0].Reader, open[1].Reader)
			if format == "json" {
				return a.printJSON(d)
			}
			return a.printDifference(d)
		},
	}
	outputFlag(c, &format)
	return c
}

func (a *app) printDifference(d bundle.Difference) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, i := range d.Added {
		fmt.Fprintf(w, "added\t%s\t%s\n", i.Name, i.Digest.Encoded()[:12])
	}
	for _, i := range d.Removed {
		fmt.Fprintf(w, "removed\t%s\t%s\n", i.Name, i.Digest.Encoded()[:12])
	}
	for _, i := range d.Changed {
		fmt.Fprintf(w, "changed\t%s\t%s -> %s\n", i.Name, i.From.Encoded()[:12], i.To.Encoded()[:12])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%s %s the same; blobs: %s shared, %s new, %s gone\n", count.Of(d.Same, "image"), count.Word(d.Same, "is", "are"), inBlobs(d.Shared), inBlobs(d.New), inBlobs(d.Gone))
	return err
}

func inBlobs(c bundle.BlobCount) string {
	return fmt.Sprintf("%d (%s)", c.Count, humanize.IBytes(uint64(c.Stored)))
}
