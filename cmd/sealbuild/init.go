package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle/assemble/starter"
	"github.com/sealbuild/sealbuild/kubefile"
)

func (a *app) initCommand() *cobra.Command {
	var chart string
	c := &cobra.Command{
		Use:   "init [--chart DIR] [CONTEXT]",
		Short: "Write the first Kubefile of a directory",
		Long: `Write a Kubefile for CONTEXT (default: this directory): it copies charts/,
manifests/ and images/, as far as they are there, and installs the charts and
manifests. With --chart it installs that chart alone. A file that is there is
never overwritten.`,
		Example: "  sealbuild init\n  sealbuild init --chart charts/shop\n  sealbuild init --chart ./shop ./shop",
		Args:    args(0, 1, "at most one CONTEXT directory"),
		RunE: func(_ *cobra.Command, given []string) error {
			context := "."
			if len(given) > 0 {
				context = given[0]
			}
			return a.init(context, chart)
		},
	}
	c.Flags().StringVar(&chart, "chart", "", "Helm chart in CONTEXT to install: a directory or a .tgz")
	return c
}

func (a *app) init(context, chart string) error {
	if fi, err := os.Stat(context); err != nil {
		return fmt.Errorf("init: it takes a directory that exists: %w", err)
	} else if !fi.IsDir() {
		return fmt.Errorf("init: %s is no directory", context)
	}
	for _, name := range kubefile.DefaultNames {
		at := filepath.Join(context, name)
		if _, err := os.Lstat(at); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("init: %s is there already, and is not overwritten: sealbuild plan %s shows what it says", at, context)
		}
	}
	text, err := starter.Kubefile(context, chart)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	at := filepath.Join(context, kubefile.DefaultNames[0])
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(fmt.Errorf("init: %w", err), f.Close(), os.Remove(at)) // half of it is none
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	_, err = fmt.Fprintf(a.out, "wrote %s: sealbuild plan %s shows what it gathers, sealbuild -t NAME:TAG %s builds it\n", at, context, context)
	return err
}
