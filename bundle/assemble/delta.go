package assemble

import (
	"context"
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// BaseInventory is what a site has in its registry once a bundle was installed
// there: the blobs of its container images, those it expected included.
func BaseInventory(ctx context.Context, r *bundle.Reader) (bundle.Inventory, error) {
	var refs []catalog.Ref
	for _, i := range r.Images() {
		if i.Kind == bundle.KindImage {
			refs = append(refs, catalog.Ref{Name: i.Name, Digest: i.Digest})
		}
	}
	images, err := catalog.Build(ctx, refs, inBundle{r})
	if err != nil {
		return nil, fmt.Errorf("list the images of the base: %w", err)
	}
	have := bundle.Inventory{}
	for _, b := range images.Blobs() {
		have[b.Digest] = b.Size
	}
	return have, nil
}

// part is a blob of the bundle to be, or one that is left out of it.
type part struct {
	store.Blob
	expected bool
}

// parts lists the blobs of all images, each once, and the bytes to write. What
// the site has is left out, but only what its registry will be asked for: no
// manifest, since what is missing must be named, and nothing of a cluster
// image, which the installer reads itself.
func (b *Builder) parts(images []bundle.Image, have bundle.Inventory) ([]part, int64, error) {
	var all []part
	at := map[string]int{}
	var total int64
	for _, i := range images {
		blobs, err := b.Store.Walk(v1.Descriptor{Digest: i.Digest, MediaType: i.MediaType}, i.Platforms...)
		if err != nil {
			return nil, 0, fmt.Errorf("image %s: %w (build it again)", i.Name, err)
		}
		for _, blob := range blobs {
			size, known := have[blob.Digest]
			expected := known && size == blob.Size && i.Kind == bundle.KindImage && !blob.Manifest
			if n, ok := at[blob.Digest.String()]; ok {
				if all[n].expected && !expected {
					all[n].expected = false
					total += blob.Size
				}
				continue
			}
			at[blob.Digest.String()] = len(all)
			all = append(all, part{blob, expected})
			if !expected {
				total += blob.Size
			}
		}
	}
	return all, total, nil
}
