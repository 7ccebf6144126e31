package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

func (a *app) inspectCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "inspect FILE|IMAGE",
		Short: "Show what a bundle or a stored cluster image holds",
		Long: `Show the images of a bundle file, or of a cluster image in the store, with their
digests, platforms and sizes, and where the bytes go. What names a file is one.

The payload of a bundle can be read without sealbuild: with N the payload
offset plus one, tail -c +N FILE | zstd -dc | tar t lists it.`,
		Example: "  sealbuild inspect ./sealinstall\n  sealbuild inspect kubernetes:v1.36.3 -o json",
		Args:    args(1, 1, "one FILE or IMAGE"),
		RunE: func(_ *cobra.Command, given []string) error {
			if err := checkOutput(format); err != nil {
				return err
			}
			i, err := a.inspect(given[0])
			if err != nil {
				return err
			}
			if format == "json" {
				return a.printJSON(i)
			}
			return a.printInspection(i)
		},
	}
	outputFlag(c, &format)
	return c
}

func (a *app) inspect(name string) (assemble.Inspection, error) {
	fi, err := os.Stat(name)
	if err == nil && fi.Mode().IsRegular() {
		f, err := bundle.OpenFile(name)
		if err != nil {
			return assemble.Inspection{}, fmt.Errorf("inspect: %w", err)
		}
		defer func() { _ = f.Close() }()
		return assemble.InspectBundle(f.Reader, fi.Size()), nil
	}
	// What can only be a path is not looked for among the images.
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "/") {
		if err == nil {
			err = errors.New("not a regular file")
		}
		return assemble.Inspection{}, fmt.Errorf("inspect %s: %w", name, err)
	}
	s, err := a.openStore()
	if err != nil {
		return assemble.Inspection{}, err
	}
	defer func() { _ = s.Close() }()
	b := &assemble.Builder{Store: s}
	i, err := b.InspectImage(name)
	if errors.Is(err, store.ErrUnknownImage) {
		return i, fmt.Errorf("inspect %s: there is no such file and no such image", name)
	}
	return i, err
}

func (a *app) printInspection(i assemble.Inspection) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	if i.FormatVersion > 0 {
		fmt.Fprintf(w, "format version\t%d\n", i.FormatVersion)
		fmt.Fprintf(w, "size\t%s (%d bytes)\n", humanize.IBytes(uint64(i.Size)), i.Size)
		fmt.Fprintf(w, "payload offset\t%d\n", i.PayloadOffset)
		fmt.Fprintf(w, "index\t%s\n", i.IndexDigest)
	}
	t := i.Blobs
	fmt.Fprintf(w, "blobs\t%d, %s, of these kept as they are %d, %s\n", t.Count, humanize.IBytes(uint64(t.Size)),
		t.AsIs, humanize.IBytes(uint64(t.AsIsSize)))
	if t.CompressedCount > 0 {
		fmt.Fprintf(w, "compressed\t%d, %s to %s\n", t.CompressedCount, humanize.IBytes(uint64(t.Size-t.AsIsSize)), humanize.IBytes(uint64(t.CompressedSize)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	fmt.Fprintln(w, "KIND\tNAME\tDIGEST\tPLATFORMS\tSIZE\tFROM")
	for _, m := range i.Images {
		kind, from := string(m.Kind), ""
		if m.Type != "" {
			kind = m.Type
		}
		if m.File != "" {
			from = fmt.Sprintf("%s:%d", m.File, m.Line)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", kind, m.Name, m.Digest.Encoded()[:12], strings.Join(m.Platforms, ","), humanize.IBytes(uint64(m.Size)), from)
	}
	return w.Flush()
}
