package steps

import (
	"context"
	"errors"
	"io"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/registry"
)

// findExpected asks the registry hosts for the blobs that the bundle leaves out
// because the site has them. A host that lacks some gives a
// *bundle.MissingError that lists them; nothing is changed anywhere.
func (r *Run) findExpected(ctx context.Context) error {
	expected := r.Bundle.Expected()
	if len(expected) == 0 {
		return nil
	}
	if r.Copy {
		return errors.New("--copy-registry sends every blob, and this bundle leaves out what the site has: run without it")
	}
	repo := registry.Repository{Name: "expected"} // of a dry run, so it is never made
	for _, e := range expected {
		repo.Layers = append(repo.Layers, registry.Blob{Digest: e.Digest, Size: e.Size})
	}
	catalog := registry.Catalog{Repositories: []registry.Repository{repo}}
	return r.each(ctx, r.registryHosts(), func(ctx context.Context, t *Target) error {
		lacks := &bundle.MissingError{Where: "the registry in " + r.registry.data}
		if t.Link.Run(ctx, host.Cmd{Argv: []string{"test", "-d", r.registry.data}, Root: true}) != nil {
			lacks.Blobs = expected // and a dry run would make its directory
			return lacks
		}
		err := t.Agent.RegistryReceive(ctx, r.registry.data, func(w io.Writer, in io.Reader) error {
			_, err := registry.Push(ctx, w, in, catalog, Source(r.Bundle), registry.PushOptions{DryRun: true, Missing: func(blobs []registry.Blob) {
				for _, b := range blobs {
					lacks.Blobs = append(lacks.Blobs, bundle.Expected{Digest: b.Digest, Size: b.Size})
				}
			}})
			return err
		})
		if err == nil && len(lacks.Blobs) > 0 {
			err = lacks
		}
		return err
	})
}
