package main

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/count"
)

func (a *app) pullCommand() *cobra.Command {
	var platform string
	var ignoreScanErrors bool
	c := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Take cluster images out of registries into the store, with every image they need",
		Long: `Take cluster images out of registries into the store, unchanged, together with
every container image they need: those that sealbuild push put beside them,
those in the registry directory inside an image made by sealos, and those that
their charts, manifests and lists name, which come from their own registries.
What may hide images from that search is an error, except in an image that
brings a registry directory: its maker has gathered what it needs.
What is in the store already is not downloaded again.`,
		Example: `  sealbuild pull registry.example.com/team/kubernetes:v1.36.3
  sealbuild pull --platform linux/amd64,linux/arm64 docker.io/labring/kubernetes:v1.29.9
  sealbuild bundle docker.io/labring/kubernetes:v1.29.9 -o site.run`,
		Args: args(1, -1, "one or more IMAGE names"),
		RunE: func(c *cobra.Command, names []string) error {
			platforms, err := store.ParsePlatforms(platform)
			if err != nil {
				return &usageError{err}
			}
			for _, name := range names {
				if _, err := store.Name(name); err != nil {
					return &usageError{err}
				}
			}
			return a.withBuilder(func(b *assemble.Builder) error {
				for _, name := range names {
					rec, err := b.Pull(c.Context(), assemble.PullRequest{Ref: name, Platforms: platforms, IgnoreScanErrors: ignoreScanErrors})
					if err != nil {
						return fmt.Errorf("pull %s: %w", name, err)
					}
					a.progress.say("stored %s (%s, %s) with %s (%s)", rec.Name, rec.ClusterType,
						humanize.IBytes(uint64(rec.Size)), count.Of(len(rec.Images), "container image"), humanize.IBytes(uint64(rec.NeededUnique)))
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&platform, "platform", "", "OS/ARCH, or a comma list (default linux and this machine's)")
	c.Flags().BoolVar(&ignoreScanErrors, "ignore-scan-errors", false, "go on when a chart or manifest of the image cannot be searched for images")
	a.registryFlags(c)
	return c
}

func (a *app) pushCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "push IMAGE [DESTINATION]",
		Short: "Write a stored cluster image, and the images it needs, to a registry",
		Long: `Write a cluster image of the store to a registry, unchanged, and the container
images it needs beside it in the same repository, so that sealbuild pull on
another machine needs no other registry. DESTINATION is NAME:TAG in a registry,
by default the image's own name. Blobs that are there already are not sent.`,
		Example: `  sealbuild push kubernetes:v1.36.3 registry.example.com/team/kubernetes:v1.36.3
  sealbuild tag shop:1.2 registry.example.com/shop:1.2 && sealbuild push registry.example.com/shop:1.2`,
		Args: args(1, 2, "IMAGE and maybe DESTINATION"),
		RunE: func(c *cobra.Command, names []string) error {
			destination := names[len(names)-1]
			if _, err := store.Name(destination); err != nil {
				return &usageError{err}
			}
			return a.withBuilder(func(b *assemble.Builder) error {
				p, err := b.Push(c.Context(), names[0], destination)
				if err != nil {
					return err
				}
				a.progress.say("pushed %s@%s with %s", p.Ref, p.Digest, count.Of(p.Images, "container image"))
				return nil
			})
		},
	}
	a.registryFlags(c)
	return c
}

// withBuilder runs fn on the store.
func (a *app) withBuilder(fn func(*assemble.Builder) error) error {
	return a.withStore(func(s *store.Store) error {
		b, err := a.builder(s)
		if err != nil {
			return err
		}
		if err := keepTemporaryFiles(s); err != nil {
			return err
		}
		return fn(b)
	})
}
