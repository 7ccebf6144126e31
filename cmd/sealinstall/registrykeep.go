package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

func newRegistrySyncCommand(o *runOptions) *cobra.Command {
	var mode string
	var p storesync.PushOptions
	cmd := &cobra.Command{
		Use: "sync [DIR]", Short: "Fill the registry in a directory of this machine with the bundle's images", Args: maxOneArg,
		Long: `Fill the registry in a directory of this machine (default ` + disk.DefaultRoot + `) with the bundle's images. It may be served
meanwhile. What is there is not written again; a run that was stopped goes on where it was.`,
		Example: "  ./sealinstall registry sync /srv/registry\n  ./sealinstall registry sync --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch mode {
			case "difference":
			case "copy":
				p.All = true
			default:
				return usage.Errorf("--mode %q: expected difference or copy", mode)
			}
			return o.withBundle(func(f *bundle.File) error {
				images, err := payload.Catalog(cmd.Context(), f.Reader)
				if err != nil {
					return err
				}
				store := disk.Open(dirArg(args))
				if !p.DryRun {
					brings, err := payload.Brings(f.Reader, images)
					if err == nil {
						err = store.BundleComes(brings)
					}
					if err != nil {
						return err
					}
				}
				r, err := storesync.Fill(cmd.Context(), store, images, payload.Source(f.Reader), p)
				if err != nil {
					return err
				}
				if p.DryRun {
					fmt.Fprintf(cmd.OutOrStdout(), "%s, %s %s missing; %d %s there\n", count.Of(r.BlobsMissing, "blob"), humanize.IBytes(uint64(r.BytesMissing)),
						count.Word(r.BlobsMissing, "is", "are"), r.BlobsKnown, count.Word(r.BlobsKnown, "is", "are"))
					return nil
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s, %s written; %s set\n", count.Of(r.BlobsSent, "blob"), humanize.IBytes(uint64(r.BytesSent)), count.Of(r.TagsSet, "tag"))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&mode, "mode", "difference", "write what is missing (difference) or everything (copy)")
	cmd.Flags().BoolVar(&p.Verify, "verify", false, "read what is there and replace what is damaged")
	cmd.Flags().BoolVar(&p.DryRun, "dry-run", false, "only tell what is missing")
	return cmd
}

func newRegistryGCCommand(o *runOptions) *cobra.Command {
	var keep []string
	var last int
	var c disk.CollectOptions
	cmd := &cobra.Command{
		Use: "gc [DIR]", Short: "Remove what no installed bundle names from the registry in a directory", Args: maxOneArg,
		Long: `Remove everything from the registry in a directory of this machine (default ` + disk.DefaultRoot + `) but the images of this
bundle, if this program has one or --bundle names one, and those that --keep names: a bundle, or a text file with
an image on each line, as NAME:TAG or NAME[:TAG] DIGEST.

With --last, remove only what older bundles have brought, and keep all else: what was pushed, and of each cluster image what the
last so many versions need that a cluster ran with (2: that of now and the one before), and those that came since and
are not in use yet. The registry knows this of bundles that came since installers record it; what came before stays.

It needs no free space, and the registry may be served meanwhile: pulls that have begun get --grace to end, once for
manifests and once for layers.`,
		Example: "  sealinstall registry gc --last 2\n  ./sealinstall registry gc --keep monitoring.bundle --keep images.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Grace < 0 {
				return usage.Errorf("--grace %v is negative", c.Grace)
			}
			if cmd.Flags().Changed("last") && last < 1 {
				return usage.Errorf("--last %d: expected how many versions to keep, 1 or more", last)
			}
			store := disk.Open(dirArg(args))
			kept, err := o.kept(cmd, store, keep, last > 0)
			if err != nil {
				return err
			}
			var done disk.Collected
			if last > 0 {
				var old []digest.Digest
				done, old, err = store.CollectOlder(cmd.Context(), last, kept, c)
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s older than the last %s in use\n", count.Of(len(old), "bundle"), count.Word(len(old), "is", "are"), count.Of(last, "version"))
			} else {
				done, err = store.Collect(cmd.Context(), kept, c)
			}
			if errors.Is(err, disk.ErrBusy) {
				err = fmt.Errorf("%w: run this again when the sync has ended", err)
			}
			verb := "removed"
			if c.DryRun {
				verb = "would be removed"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s, %s, %s, %s %s\n", count.Of(done.Tags, "tag"), count.Of(done.Manifests, "manifest"),
				count.Of(done.Blobs, "blob"), humanize.IBytes(uint64(done.Bytes)), verb)
			return err
		},
	}
	cmd.Flags().StringArrayVar(&keep, "keep", nil, "bundle, or text file of images, to keep as well (repeatable)")
	cmd.Flags().IntVar(&last, "last", 0, "remove only what is of bundles before the last so many versions in use")
	cmd.Flags().DurationVar(&c.Grace, "grace", 30*time.Second, "how long a pull that has begun may go on")
	cmd.Flags().BoolVar(&c.DryRun, "dry-run", false, "only count")
	return cmd
}

// kept gathers what a collection leaves, beside what it leaves anyway if most says so.
func (o *runOptions) kept(cmd *cobra.Command, store *disk.Store, files []string, most bool) (catalog.Catalog, error) {
	var kept catalog.Catalog
	var refs []catalog.Ref
	sources, whole := 0, true // whole: what the cluster itself pulls is among what is kept
	add := func(f *bundle.File) error {
		if kind := f.Kind(); sources == 0 || kind != bundle.AddsApplications {
			whole = kind != bundle.AddsApplications
		}
		sources++
		c, err := payload.Catalog(cmd.Context(), f.Reader)
		kept = kept.Merge(c)
		return err
	}
	if err := o.withOwnBundle(add); err != nil {
		return catalog.Catalog{}, err
	}
	for _, name := range files {
		f, err := bundle.OpenFile(name)
		if errors.Is(err, bundle.ErrNotBundle) {
			list, err := readImageList(name)
			if err != nil {
				return catalog.Catalog{}, err
			}
			sources, whole = sources+1, true
			refs = append(refs, list...)
			continue
		}
		if err == nil {
			err = errors.Join(add(f), f.Close())
		}
		if err != nil {
			return catalog.Catalog{}, fmt.Errorf("--keep: %w", err)
		}
	}
	if sources == 0 && !most {
		return catalog.Catalog{}, usage.Errorf("nothing says what to keep: run this from a bundle, or give --bundle or --keep")
	}
	if !whole && !most {
		return catalog.Catalog{}, usage.Errorf("only bundles of applications say what to keep, and what the cluster itself pulls would be removed: name the bundle that the cluster was made with, too (--keep); nothing was removed")
	}
	reached, absent, err := store.Reach(cmd.Context(), refs)
	if err != nil {
		return catalog.Catalog{}, fmt.Errorf("nothing was removed, since what is to be kept is not whole: %w; repair it with sync or verify first", err)
	}
	for _, r := range absent {
		fmt.Fprintf(cmd.ErrOrStderr(), "not in the registry: %s\n", r.Name)
	}
	return kept.Merge(reached), nil
}

// withOwnBundle opens the bundle that is named, or the one behind this program; without either it does nothing.
func (o *runOptions) withOwnBundle(do func(*bundle.File) error) error {
	if o.bundle == "" {
		name, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program's own file: %w", err)
		}
		f, err := bundle.OpenFile(name)
		if errors.Is(err, bundle.ErrNotBundle) {
			return nil
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return err
		}
	}
	return o.withBundle(do)
}

// readImageList reads a text file of images; empty lines and those that begin with # are skipped.
func readImageList(name string) (refs []catalog.Ref, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		ref := catalog.Ref{Name: fields[0]}
		if len(fields) > 1 {
			ref.Digest = digest.Digest(fields[1])
			err = ref.Digest.Validate()
		}
		_, tag, nameErr := catalog.RepositoryName(ref.Name)
		switch err = errors.Join(err, nameErr); {
		case err != nil:
		case len(fields) > 2:
			err = errors.New("expected an image and perhaps its digest")
		case tag == "" && ref.Digest == "":
			err = errors.New("neither a tag nor a digest")
		}
		if err != nil {
			return nil, usage.Errorf("%s:%d: %w", name, n, err)
		}
		refs = append(refs, ref)
	}
	return refs, lines.Err()
}

func dirArg(args []string) string {
	if len(args) == 0 {
		return disk.DefaultRoot
	}
	return args[0]
}

// storeThere is the store in a directory that must exist: of one that does not, everything would be found in order.
func storeThere(args []string) (*disk.Store, error) {
	if _, err := os.Stat(dirArg(args)); err != nil {
		return nil, fmt.Errorf("no registry to look at: %w", err)
	}
	return disk.Open(dirArg(args)), nil
}

func maxOneArg(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage.Errorf("%s takes one directory", cmd.CommandPath())
	}
	return nil
}

func newRegistryCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{Use: "registry", Short: "The registry of a node", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(
		&cobra.Command{
			Use: "serve CONFIG", Short: "Serve the registry that a distribution configuration file describes", Args: oneArg,
			Example: "  sealinstall registry serve /etc/registry/registry_config.yml",
			RunE: func(cmd *cobra.Command, args []string) error {
				return registry.ServeConfig(cmd.Context(), args[0])
			},
		},
		newRegistrySyncCommand(o), newRegistryGCCommand(o), newRegistryVerifyCommand(o),
		newPingCommand(),
	)
	return cmd
}
