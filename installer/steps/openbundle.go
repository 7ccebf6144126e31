package steps

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry"
)

// verifyInBackground hashes every byte of the bundle while hosts are looked at.
func (r *Run) verifyInBackground(ctx context.Context) {
	r.verified = make(chan error, 1)
	go func() {
		damages, err := r.Payload.Bundle.Verify(ctx, nil)
		for _, d := range damages {
			err = errors.Join(err, fmt.Errorf("%s is damaged: bytes %d to %d of the file: %s", d.Entry, d.Offset, d.Offset+d.Length, d.Reason))
		}
		if len(damages) > 0 {
			err = fmt.Errorf("the bundle is damaged, nothing was installed: copy the file again and compare its checksum\n%w", err)
		}
		r.verified <- err
	}()
}

// openBundle waits until every byte is verified. Before that, hosts have got
// nothing but the stub, and that is taken away again.
func (r *Run) openBundle(ctx context.Context) (installer.Result, error) {
	select {
	case <-ctx.Done():
		return installer.Result{}, context.Cause(ctx)
	case err := <-r.verified:
		if err != nil {
			return installer.Result{}, err
		}
	}
	if err := r.findExpected(ctx); err != nil {
		return installer.Result{}, err
	}
	containers := 0
	for _, i := range r.Payload.Bundle.Images() {
		if i.Kind == bundle.KindImage {
			containers++
		}
	}
	return installer.Result{Note: fmt.Sprintf("%d cluster images, %d container images, digest %.19s…", len(r.Payload.Images), containers, r.Payload.Bundle.IndexDigest())}, nil
}

// findExpected asks the registry hosts for the blobs that the bundle leaves out
// because the site has them. A host that lacks some gives a
// *bundle.MissingError that lists them; nothing is changed anywhere.
func (r *Run) findExpected(ctx context.Context) error {
	expected := r.Payload.Bundle.Expected()
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
	return r.Each(ctx, r.registryHosts(), func(ctx context.Context, t *fleet.Target) error {
		lacks := &bundle.MissingError{Where: "the registry in " + r.access().Data}
		if t.Link.Run(ctx, host.Cmd{Argv: []string{"test", "-d", r.access().Data}, Root: true}) != nil {
			lacks.Blobs = expected // and a dry run would make its directory
			return lacks
		}
		err := t.Agent.RegistryReceive(ctx, r.access().Data, func(w io.Writer, in io.Reader) error {
			source := payload.Source(r.Payload.Bundle)
			_, err := registry.Push(ctx, w, in, catalog, source, registry.PushOptions{DryRun: true, Missing: func(blobs []registry.Blob) {
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
