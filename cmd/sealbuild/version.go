package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/cli"
	show "github.com/sealbuild/sealbuild/ground/progress"
)

// version and commit are set by the linker.
var (
	version = "dev"
	commit  string
)

func (a *app) versionCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version, the commit, and the versions of formats",
		Example: "  sealbuild version\n  sealbuild version -o json",
		Args:    args(0, 0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(format); err != nil {
				return err
			}
			return cli.NewBuild("sealbuild", version, commit, map[string]string{
				"bundle": strconv.Itoa(bundle.FormatVersion), "progress": strconv.Itoa(show.Version),
			}).Write(a.out, format)
		},
	}
	outputFlag(c, &format)
	return c
}
