package pull

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Pin describes an image that is complete in the store. Of an index the given
// platforms are meant, or without any those that the store holds.
func Pin(st *store.Store, w Wanted, root v1.Descriptor, of ...string) (store.Pinned, error) {
	blobs, err := st.Walk(root, of...)
	if err != nil {
		return store.Pinned{}, err
	}
	raw, err := st.ReadBlob(root.Digest, ocigraph.MaxManifest)
	if err != nil {
		return store.Pinned{}, err
	}
	p := store.Pinned{
		Found:        store.Found{Ref: w.Ref},
		Digest:       root.Digest,
		MediaType:    root.MediaType,
		ManifestSize: int64(len(raw)),
		Size:         store.Size(blobs),
	}
	if len(w.Places) > 0 {
		p.Found = w.Places[0]
		p.Ref = w.Ref
	}
	if p.MediaType == "" {
		p.MediaType = manifest.GuessMIMEType(raw)
	}
	if p.Platforms, err = platforms(st, root.Digest, raw, of); err != nil {
		return store.Pinned{}, fmt.Errorf("image %s: %w", w.Ref, err)
	}
	return p, nil
}

// platforms lists what of a manifest or index is meant.
func platforms(st *store.Store, d digest.Digest, raw []byte, of []string) ([]string, error) {
	m, err := ocigraph.Parse(d, raw)
	if err != nil {
		return nil, err
	}
	if m.Config != nil {
		p, err := configPlatform(st, *m.Config)
		if err != nil {
			return nil, err
		}
		return []string{store.Platform(p)}, nil
	}
	if len(of) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(of))), nil
	}
	var all []string
	for _, d := range m.Manifests {
		if _, ok := st.Has(d.Digest); ok && d.Platform != nil {
			all = append(all, store.Platform(*d.Platform))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// configPlatform reads the platform out of an image's config.
func configPlatform(st *store.Store, d v1.Descriptor) (v1.Platform, error) {
	raw, err := st.ReadBlob(d.Digest, ocigraph.MaxManifest)
	if err != nil {
		return v1.Platform{}, err
	}
	var p v1.Platform // and nothing else, which others may write as they like
	if err := json.Unmarshal(raw, &p); err != nil {
		return v1.Platform{}, fmt.Errorf("read config %s: %w", d.Digest, err)
	}
	if p.OS == "" {
		p.OS = "linux"
	}
	return p, nil
}
