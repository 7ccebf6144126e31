package payload

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// Source lets the registry read blobs out of a bundle, in place.
func Source(b *bundle.Reader) catalog.Source { return bundleSource{b} }

type bundleSource struct{ *bundle.Reader }

func (s bundleSource) Stat(d digest.Digest) (int64, bool) {
	if info, ok := s.Reader.Stat(d); ok {
		return info.Size, true
	}
	return s.Expects(d) // the site has it, or the push says so
}

func (s bundleSource) BlobAt(d digest.Digest) (catalog.BlobReader, error) {
	return s.Reader.BlobAt(d)
}

// Catalog lists every container image of the bundle as the registry holds it.
func Catalog(ctx context.Context, b *bundle.Reader) (catalog.Catalog, error) {
	var refs []catalog.Ref
	for _, i := range b.Images() {
		if i.Kind == bundle.KindImage {
			refs = append(refs, catalog.Ref{Name: i.Name, Digest: i.Digest})
		}
	}
	images, err := catalog.Build(ctx, refs, Source(b))
	if err != nil {
		return catalog.Catalog{}, fmt.Errorf("list the images of the bundle: %w", err)
	}
	return images, nil
}
