package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
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
	m, err := ocigraph.Parse(root.Digest, raw)
	if err == nil {
		err = CheckKind(root.Digest, m)
	}
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
	if p.Platforms, err = platformsOf(s, root.Digest, m, of); err != nil {
		return Pinned{}, fmt.Errorf("image %s: %w", p.Ref, err)
	}
	return p, nil
}

// platformsOf lists what of a manifest or index is meant.
func platformsOf(s *Store, d digest.Digest, m ocigraph.Manifest, of []string) ([]string, error) {
	if m.Config != nil {
		if Artifact(*m.Config) {
			return []string{}, nil
		}
		p, err := ConfigPlatform(s, *m.Config)
		if err != nil {
			return nil, err
		}
		return []string{Platform(p)}, nil
	}
	if len(of) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(of))), nil
	}
	entries, err := entries(s, d, m)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if _, ok := s.Has(e.Digest); ok {
			all = append(all, Platform(*e.Platform))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// CheckKind returns an error for a document that is neither an image nor an index.
func CheckKind(d digest.Digest, m ocigraph.Manifest) error {
	switch {
	case m.Config != nil || len(m.Manifests) > 0:
		return nil
	case m.SchemaVersion == 1:
		return fmt.Errorf("manifest %s is of Docker schema 1, which no current runtime reads: push the image again with a current tool", d)
	}
	return fmt.Errorf("manifest %s names neither a config nor other manifests: it is not a container image", d)
}

// entries lists the images below an index, as far as the store can tell.
func entries(s *Store, root digest.Digest, index ocigraph.Manifest) ([]ocigraph.Entry, error) {
	return reading(s).Entries(v1.Descriptor{Digest: root}, index)
}

// reading is how documents in the store are read. What is not there counts for nothing: an image may be there for some of its
// platforms.
func reading(s *Store) ocigraph.Platforms {
	return ocigraph.Platforms{
		Load: func(d v1.Descriptor) (ocigraph.Manifest, error) {
			if _, ok := s.Has(d.Digest); !ok {
				return ocigraph.Manifest{}, nil
			}
			m, err := ocigraph.Read(s, d.Digest)
			if err == nil && m.Config != nil {
				if _, ok := s.Has(m.Config.Digest); !ok {
					m.Config = nil
				}
			}
			return m, err
		},
		Of: func(config v1.Descriptor) (v1.Platform, error) { return ConfigPlatform(s, config) },
	}
}

// Artifact tells by its config that a manifest is no container image, but something else that a registry keeps: a chart, a
// signature. It is for no platform.
func Artifact(config v1.Descriptor) bool {
	switch config.MediaType {
	case "", v1.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json":
		return false
	}
	return true
}

// ConfigPlatform reads the platform out of an image's config.
func ConfigPlatform(s *Store, d v1.Descriptor) (v1.Platform, error) {
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

// Plain is the index that a registry would hold of some images: each with its platform. Of one image it is that itself.
func Plain(s *Store, images []v1.Descriptor) (v1.Descriptor, error) {
	if len(images) == 1 {
		return v1.Descriptor{MediaType: images[0].MediaType, Digest: images[0].Digest, Size: images[0].Size}, nil
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, d := range images {
		index.Manifests = append(index.Manifests,
			v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: PlatformOf(Platform(*d.Platform))})
	}
	return s.PutJSON(v1.MediaTypeImageIndex, index)
}

// Named is an index of the store if it names each of its images that the store holds, with its platform, and else one that does:
// hosts that ask for a tag choose by what the index says.
func Named(s *Store, root v1.Descriptor) (v1.Descriptor, error) {
	m, err := ocigraph.Read(s, root.Digest)
	if err != nil || m.Config != nil {
		return root, err
	}
	all, err := entries(s, root.Digest, m)
	if err != nil {
		return root, err
	}
	direct := true
	var held []v1.Descriptor
	for _, e := range all {
		if _, ok := s.Has(e.Digest); ok {
			direct = direct && e.Direct()
			held = append(held, e.Descriptor)
		}
	}
	if direct {
		return root, nil
	}
	return Plain(s, held)
}
