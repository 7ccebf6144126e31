package main

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func (a *app) rmiCommand() *cobra.Command {
	var prune bool
	c := &cobra.Command{
		Use:   "rmi [--prune] IMAGE...",
		Short: "Remove cluster images from the store",
		Long: `Remove cluster images from the store, with the blobs that no other image needs.
--prune also removes what failed builds left in the download cache.`,
		Example: "  sealbuild rmi shop:1.1\n  sealbuild rmi --prune",
		Args: func(c *cobra.Command, given []string) error {
			if len(given) == 0 && !prune {
				return usagef("rmi: expected one or more IMAGE names, or --prune")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, names []string) error {
			s, err := a.openStore()
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			var failed []error
			for _, name := range names {
				done, err := s.Remove(name)
				if err != nil {
					failed = append(failed, err)
					continue
				}
				if done.Later {
					fmt.Fprintf(a.out, "removed %s; another sealbuild uses the store, so what it held stays until sealbuild rmi --prune\n", name)
					continue
				}
				fmt.Fprintf(a.out, "removed %s, freed %s\n", name, humanize.IBytes(uint64(done.Freed)))
			}
			if prune {
				freed, err := s.Prune()
				if err != nil {
					failed = append(failed, err)
				} else {
					fmt.Fprintf(a.out, "pruned, freed %s\n", humanize.IBytes(uint64(freed)))
				}
			}
			return errors.Join(failed...)
		},
	}
	c.Flags().BoolVar(&prune, "prune", false, "remove every blob that no image needs")
	return c
}
