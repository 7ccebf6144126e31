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
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
)

func (a *app) inspectCommand() *cobra.Command {
	var format, sbom string
	var lock, signature bool
	c := &cobra.Command{
		Use:   "inspect FILE|IMAGE",
		Short: "Show what a bundle or a stored cluster image holds",
		Long: `Show the images of a bundle file, or of a cluster image in the store, with their
digests, platforms and sizes, and where the bytes go. What names a file is one.

The payload of a bundle can be read without sealbuild: with N the payload
offset plus one, tail -c +N FILE | zstd -dc | tar t lists it. So can the
signature: see bundle/FORMAT.md.`,
		Example: `  sealbuild inspect ./sealinstall
  sealbuild inspect ./sealinstall --sbom > sbom.cdx.json
  sealbuild inspect ./sealinstall --sbom=spdx > sbom.spdx.json
  sealbuild inspect kubernetes:v1.36.3 -o json`,
		Args: args(1, 1, "one FILE or IMAGE"),
		RunE: func(_ *cobra.Command, given []string) error {
			if err := checkOutput(format); err != nil {
				return err
			}
			document, ok := map[string]string{"": "", "cyclonedx": write.SBOMName, "spdx": write.SPDXName}[sbom]
			if !ok {
				return usagef("--sbom=%s: expected cyclonedx or spdx", sbom)
			}
			for _, one := range []struct {
				asked bool
				read  func(*bundle.Reader) ([]byte, error)
			}{
				{lock, func(r *bundle.Reader) ([]byte, error) { return r.Document(write.LockName) }},
				{document != "", func(r *bundle.Reader) ([]byte, error) { return r.Document(document) }},
				{signature, (*bundle.Reader).Signature},
			} {
				if one.asked {
					return a.raw(given[0], one.read)
				}
			}
			return a.inspect(given[0], format)
		},
	}
	outputFlag(c, &format)
	c.Flags().BoolVar(&lock, "lock", false, "print the bundle's lock: image, digest, source line")
	c.Flags().StringVar(&sbom, "sbom", "", "print the bundle's bill of materials, as cyclonedx or spdx")
	c.Flags().Lookup("sbom").NoOptDefVal = "cyclonedx"
	c.Flags().BoolVar(&signature, "signature", false, "print the bundle's signature as ssh-keygen -Y verify takes it")
	c.MarkFlagsMutuallyExclusive("lock", "sbom", "signature", "output")
	return c
}

// raw prints one piece of a bundle as it is.
func (a *app) raw(name string, read func(*bundle.Reader) ([]byte, error)) (err error) {
	f, err := bundle.OpenFile(name)
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := read(f.Reader)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", name, err)
	}
	_, err = a.out.Write(data)
	return err
}

func (a *app) inspect(name, format string) error {
	i, err := a.inspection(name)
	if err != nil {
		return err
	}
	if format == "json" {
		return a.printJSON(i)
	}
	if i.Description != nil {
		err = i.WriteText(a.out, name)
	} else {
		err = i.Blobs.WriteText(a.out)
	}
	if err != nil {
		return err
	}
	return a.printImages(i.Images)
}

func (a *app) inspection(name string) (i assemble.Inspection, err error) {
	fi, err := os.Stat(name)
	if err == nil && fi.Mode().IsRegular() {
		f, err := bundle.OpenFile(name)
		if err != nil {
			return i, fmt.Errorf("inspect: %w", err)
		}
		defer func() { _ = f.Close() }()
		if i, err = assemble.InspectBundle(f.Reader); err != nil {
			err = fmt.Errorf("inspect %s: %w", name, err)
		}
		return i, err
	}
	// What can only be a path is not looked for among the images.
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "/") {
		if err == nil {
			err = errors.New("not a regular file")
		}
		return i, fmt.Errorf("inspect %s: %w", name, err)
	}
	s, err := a.openStore()
	if err != nil {
		return i, err
	}
	defer func() { _ = s.Close() }()
	b := &assemble.Builder{Store: s}
	i, err = b.InspectImage(name)
	if errors.Is(err, store.ErrUnknownImage) {
		return i, fmt.Errorf("inspect %s: there is no such file and no such image", name)
	}
	return i, err
}

func (a *app) printImages(images []assemble.InspectedImage) error {
	fmt.Fprintln(a.out)
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tNAME\tDIGEST\tPLATFORMS\tSIZE\tFROM")
	for _, m := range images {
		kind, from := string(m.Kind), ""
		if m.Type != "" {
			kind = m.Type
		}
		if m.Kind == bundle.KindImage && len(m.Platforms) == 0 {
			kind = "artifact"
		}
		if m.File != "" {
			from = fmt.Sprintf("%s:%d", m.File, m.Line)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", kind, m.Name, m.Digest.Encoded()[:12], strings.Join(m.Platforms, ","), humanize.IBytes(uint64(m.Size)), from)
	}
	return w.Flush()
}
