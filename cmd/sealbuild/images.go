package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

func (a *app) imagesCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "images",
		Short:   "List the cluster images in the store",
		Example: "  sealbuild images\n  sealbuild images -o json",
		Args:    args(0, 0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(format); err != nil {
				return err
			}
			s, err := a.openStore()
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			all, err := s.List()
			if err != nil {
				return err
			}
			if format == "json" {
				if all == nil {
					all = []store.Record{}
				}
				return a.printJSON(all)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tTYPE\tPLATFORM\tSIZE\tIMAGES\tIMAGES SIZE\tDIGEST\tCREATED")
			for _, r := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", r.Name, r.ClusterType, r.Platform, humanize.IBytes(uint64(r.Size)),
					len(r.Images), humanize.IBytes(uint64(r.NeededUnique)), r.Manifest.Digest.Encoded()[:12], r.Created)
			}
			return w.Flush()
		},
	}
	outputFlag(c, &format)
	return c
}
