package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/cli"
)

// version and commit are set by the linker.
var (
	version = "dev"
	commit  string
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit, and the versions of formats",
		Args:  args(0, 0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.out, cli.Version("sealbuild", version, commit, fmt.Sprint("bundle ", bundle.FormatVersion)))
			return err
		},
	}
}
