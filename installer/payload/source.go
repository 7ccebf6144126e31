package payload

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// Source lets the registry's code read blobs from a bundle, in place.
func Source(b *bundle.Reader) catalog.Source { return bundleSource{b} }

type bundleSource struct{ *bundle.Reader }

func (s bundleSource) Stat(d digest.Digest) (int64, bool) {
	if info, ok := s.Reader.Stat(d); ok {
		return info.Size, true
	}
	return s.Expects(d) // the site should have it: a push tells where it does not
}

func (s bundleSource) BlobAt(d digest.Digest) (catalog.BlobReader, error) {
	return s.Reader.BlobAt(d)
}

// ContainerImages are the container images of a bundle.
func ContainerImages(b *bundle.Reader) []bundle.Image {
	return slices.DeleteFunc(slices.Clone(b.Images()), func(i bundle.Image) bool { return i.Kind != bundle.KindImage })
}

// Catalog lists every container image of the bundle, and what refers to it, as a registry holds them.
func Catalog(ctx context.Context, b *bundle.Reader) (catalog.Catalog, error) {
	var refs []catalog.Ref
	for _, i := range ContainerImages(b) {
		ref := catalog.Ref{Name: i.Name, Digest: i.Digest}
		refs = append(refs, ref)
		for _, r := range i.Referrers {
			refs = append(refs, ref.Beside(r.Digest))
		}
	}
	images, err := catalog.Build(ctx, refs, Source(b))
	if err != nil {
		return catalog.Catalog{}, fmt.Errorf("list the images of the bundle: %w", err)
	}
	return images, nil
}

// Brings describes for a registry what a bundle brings to it: images, and the cluster images that need them.
func Brings(b *bundle.Reader, images catalog.Catalog) (disk.Bundle, error) {
	cluster := map[string]digest.Digest{}
	for _, i := range b.Images() {
		if i.Kind != bundle.KindCluster {
			continue
		}
		name, _, err := catalog.RepositoryName(i.Name)
		if err != nil {
			return disk.Bundle{}, err
		}
		cluster[name] = i.Digest
	}
	return disk.NewBundle(b.IndexDigest(), cluster, images), nil
}
