package write

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// RegistryRefs are what a registry holds of an image: it, and what refers to it.
func RegistryRefs(i bundle.Image) []catalog.Ref {
	refs := []catalog.Ref{{Name: i.Name, Digest: i.Digest}}
	for _, r := range i.Referrers {
		refs = append(refs, refs[0].Beside(r.Digest))
	}
	return refs
}

// BaseInventory is what a site has in its registry once a bundle was installed
// there: the blobs of its container images, those it expected included.
func BaseInventory(ctx context.Context, r *bundle.Reader) (bundle.Inventory, error) {
	var refs []catalog.Ref
	for _, i := range r.Images() {
		if i.Kind == bundle.KindImage {
			refs = append(refs, RegistryRefs(i)...)
		}
	}
	images, err := catalog.Build(ctx, refs, Served(r))
	if err != nil {
		return nil, fmt.Errorf("list the images of the base: %w", err)
	}
	have := bundle.Inventory{}
	for _, b := range images.Blobs() {
		have[b.Digest] = b.Size
	}
	return have, nil
}

// Blob is a blob of the bundle to be, or one that is left out of it.
type Blob struct {
	store.Blob
	Expected bool // at the site
}

// Blobs lists the blobs of all images, each once. Blobs that the site has are left out, but only such as
// its registry will be asked for: manifests stay, since they name what is missing, and so do the blobs of cluster images, which the
// installer reads itself.
func Blobs(st *store.Store, images []bundle.Image, have bundle.Inventory) ([]Blob, error) {
	var all []Blob
	at := map[string]int{}
	for _, i := range images {
		blobs, err := st.Walk(v1.Descriptor{Digest: i.Digest, MediaType: i.MediaType}, i.Platforms...)
		for _, r := range i.Referrers {
			below, wrong := st.Walk(r)
			blobs, err = append(blobs, below...), errors.Join(err, wrong)
		}
		if err != nil {
			return nil, fmt.Errorf("image %s: %w (build it again)", i.Name, err)
		}
		for _, blob := range blobs {
			size, known := have[blob.Digest]
			expected := known && size == blob.Size && i.Kind == bundle.KindImage && !blob.Manifest
			if n, ok := at[blob.Digest.String()]; ok {
				all[n].Expected = all[n].Expected && expected
				continue
			}
			at[blob.Digest.String()] = len(all)
			all = append(all, Blob{blob, expected})
		}
	}
	return all, nil
}
