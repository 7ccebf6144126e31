package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Pin describes an image that is complete in the store, as found there. Of an index the given
// platforms are meant, or without any those that the store holds.
func Pin(s *Store, named Found, root v1.Descriptor, of ...string) (Pinned, error) {
	blobs, err := s.Walk(root, of...)
	if err != nil {
		return Pinned{}, err
	}
	raw, err := s.ReadBlob(root.Digest, ocigraph.MaxManifest)
	if err != nil {
		return Pinned{}, err
	}
	p := Pinned{
		Found:        named,
		Digest:       root.Digest,
		MediaType:    root.MediaType,
		ManifestSize: int64(len(raw)),
		Size:         Size(blobs),
	}
	if p.MediaType == "" {
		p.MediaType = manifest.GuessMIMEType(raw)
	}
	if p.Platforms, err = platformsOf(s, root.Digest, raw, of); err != nil {
		return Pinned{}, fmt.Errorf("image %s: %w", p.Ref, err)
	}
	return p, nil
}

// platformsOf lists what of a manifest or index is meant.
func platformsOf(s *Store, d digest.Digest, raw []byte, of []string) ([]string, error) {
	m, err := ocigraph.Parse(d, raw)
	if err != nil {
		return nil, err
	}
	if m.Config != nil {
		p, err := configPlatform(s, *m.Config)
		if err != nil {
			return nil, err
		}
		return []string{Platform(p)}, nil
	}
	if len(of) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(of))), nil
	}
	var all []string
	for _, d := range m.Manifests {
		if _, ok := s.Has(d.Digest); ok && d.Platform != nil {
			all = append(all, Platform(*d.Platform))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// configPlatform reads the platform out of an image's config.
func configPlatform(s *Store, d v1.Descriptor) (v1.Platform, error) {
	raw, err := s.ReadBlob(d.Digest, ocigraph.MaxManifest)
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
