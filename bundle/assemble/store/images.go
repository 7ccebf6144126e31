package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// ExportLayout makes an OCI layout below the store's temporary directory that holds
// an image, of the given platforms, and no bytes of its own.
func (s *Store) ExportLayout(dir string, root v1.Descriptor, platforms ...v1.Platform) error {
	blobs := []digest.Digest{root.Digest}
	for _, p := range platforms {
		one, err := s.OfPlatform(root, p)
		if err != nil {
			return err
		}
		below, err := s.Walk(one)
		if err != nil {
			return err
		}
		for _, blob := range below {
			blobs = append(blobs, blob.Digest)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	for _, d := range blobs {
		err := s.LinkBlob(d, filepath.Join(dir, "blobs", "sha256", d.Encoded()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	index, err := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{root},
	})
	return errors.Join(err,
		os.WriteFile(filepath.Join(dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644),
		os.WriteFile(filepath.Join(dir, v1.ImageIndexFile), index, 0o644))
}

// OfPlatform is the image of a platform in an index, or the image itself.
func (s *Store) OfPlatform(d v1.Descriptor, platform v1.Platform) (v1.Descriptor, error) {
	m, err := ocigraph.Read(s, d.Digest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if m.Config != nil {
		return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: m.Size}, nil
	}
	all, err := entries(s, d.Digest, m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	want := Platform(platform)
	var loose *ocigraph.Entry
	for i, e := range all {
		have := Platform(*e.Platform)
		if _, ok := s.Has(e.Digest); ok && SameFamily([]string{have}, want) && loose == nil {
			loose = &all[i]
		}
		if have == want {
			loose = &all[i]
			break
		}
	}
	if loose == nil {
		return v1.Descriptor{}, fmt.Errorf("index %s holds no image for %s", d.Digest, want)
	}
	return v1.Descriptor{MediaType: loose.MediaType, Digest: loose.Digest, Size: loose.Size}, nil
}

// Config reads the config of a stored image for a platform.
func (s *Store) Config(d v1.Descriptor, platform v1.Platform) (v1.Image, error) {
	one, err := s.OfPlatform(d, platform)
	if err != nil {
		return v1.Image{}, err
	}
	m, err := ocigraph.Read(s, one.Digest)
	if err != nil {
		return v1.Image{}, err
	}
	if m.Config == nil {
		return v1.Image{}, fmt.Errorf("manifest %s of type %s names no config", one.Digest, one.MediaType)
	}
	return ocigraph.ReadConfig(s, m.Config.Digest)
}

// Layers counts the layers of a stored image for a platform.
func (s *Store) Layers(d v1.Descriptor, platform v1.Platform) (int, error) {
	one, err := s.OfPlatform(d, platform)
	if err != nil {
		return 0, err
	}
	m, err := ocigraph.Read(s, one.Digest)
	return len(m.Layers), err
}

// PutJSON stores a document and describes it.
func (s *Store) PutJSON(mediaType string, v any) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	d, err := s.PutBytes(data)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, nil
}

// UniqueSize adds up the blobs of images, each once.
func (s *Store) UniqueSize(images []Pinned) (int64, error) {
	seen := map[digest.Digest]int64{}
	for _, p := range images {
		blobs, err := s.Walk(v1.Descriptor{Digest: p.Digest, MediaType: p.MediaType}, p.Platforms...)
		if err != nil {
			return 0, fmt.Errorf("image %s: %w", p.Ref, err)
		}
		for _, blob := range blobs {
			seen[blob.Digest] = blob.Size
		}
	}
	var total int64
	for _, n := range seen {
		total += n
	}
	return total, nil
}
