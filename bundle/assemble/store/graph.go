package store

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifest bounds manifests, indexes and configs, in bytes: what the
// registries themselves refuse beyond.
const MaxManifest = 4 << 20

// maxDepth bounds indexes of indexes.
const maxDepth = 4

// ErrIncomplete is the cause when the store lacks a blob of an image.
var ErrIncomplete = errors.New("not all of the image is in the local store")

// Blob is one blob of an image, with the media type its parent gives it.
type Blob struct {
	v1.Descriptor
	Manifest bool // a manifest or an index
}

// Walk lists every blob an image reaches, each once, children before parents.
// Platforms of an index that the store does not hold are skipped, but at least
// one must be there; a missing config or layer is ErrIncomplete.
func (s *Store) Walk(root v1.Descriptor) ([]Blob, error) {
	w := walk{store: s, seen: map[digest.Digest]bool{}}
	if err := w.visit(root, 0); err != nil {
		return nil, err
	}
	return w.blobs, nil
}

type walk struct {
	store *Store
	seen  map[digest.Digest]bool
	blobs []Blob
}

func (w *walk) visit(d v1.Descriptor, depth int) error {
	if w.seen[d.Digest] {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("walk image %s: indexes nested deeper than %d", d.Digest, maxDepth)
	}
	size, ok := w.store.Has(d.Digest)
	if !ok {
		return fmt.Errorf("manifest %s: %w", d.Digest, ErrIncomplete)
	}
	raw, err := w.store.ReadBlob(d.Digest, MaxManifest)
	if err != nil {
		return err
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("read manifest %s: %w", d.Digest, err)
	}
	present := 0
	for _, child := range m.Manifests {
		if _, ok := w.store.Has(child.Digest); !ok {
			continue
		}
		if err := w.visit(child, depth+1); err != nil {
			return err
		}
		present++
	}
	if len(m.Manifests) > 0 && present == 0 {
		return fmt.Errorf("index %s: %w", d.Digest, ErrIncomplete)
	}
	for _, leaf := range m.Leaves() {
		if w.seen[leaf.Digest] {
			continue
		}
		if _, ok := w.store.Has(leaf.Digest); !ok {
			return fmt.Errorf("blob %s: %w", leaf.Digest, ErrIncomplete)
		}
		w.seen[leaf.Digest] = true
		w.blobs = append(w.blobs, Blob{Descriptor: leaf})
	}
	d.Size = size
	if d.MediaType == "" {
		d.MediaType = m.MediaType
	}
	w.seen[d.Digest] = true
	w.blobs = append(w.blobs, Blob{Descriptor: d, Manifest: true})
	return nil
}

// Manifest is what a manifest and an index have in common, in the OCI and the
// Docker schema 2 writing.
type Manifest struct {
	MediaType string          `json:"mediaType"`
	Config    *v1.Descriptor  `json:"config,omitempty"`
	Layers    []v1.Descriptor `json:"layers,omitempty"`
	Manifests []v1.Descriptor `json:"manifests,omitempty"`
}

// Leaves are the config and the layers.
func (m Manifest) Leaves() []v1.Descriptor {
	if m.Config == nil {
		return m.Layers
	}
	return append([]v1.Descriptor{*m.Config}, m.Layers...)
}

// Size adds up blobs.
func Size(blobs []Blob) int64 {
	var n int64
	for _, b := range blobs {
		n += b.Size
	}
	return n
}
