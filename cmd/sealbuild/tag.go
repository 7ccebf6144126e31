package main

import (
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

func (a *app) tagCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "tag IMAGE NAME:TAG",
		Short:   "Give a stored cluster image one more name",
		Example: "  sealbuild tag shop:1.2 shop:latest",
		Args:    args(2, 2, "IMAGE and NAME:TAG"),
		RunE: func(_ *cobra.Command, names []string) error {
			if _, err := store.Name(names[1]); err != nil {
				return &usageError{err}
			}
			return a.withStore(func(s *store.Store) error {
				_, err := s.Tag(names[0], names[1])
				return err
			})
		},
	}
}
