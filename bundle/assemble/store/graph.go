package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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
// Of an index it takes the given platforms, written by Platform, and one that
// the store lacks is ErrIncomplete; without any it takes those that the store
// holds, of which there must be one. A missing config or layer is
// ErrIncomplete.
func (s *Store) Walk(root v1.Descriptor, platforms ...string) ([]Blob, error) {
	w := walk{store: s, platforms: platforms, seen: map[digest.Digest]bool{}}
	if err := w.visit(root, 0); err != nil {
		return nil, err
	}
	return w.blobs, nil
}

type walk struct {
	store     *Store
	platforms []string
	seen      map[digest.Digest]bool
	blobs     []Blob
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
	if err := w.children(d, m.Manifests, depth); err != nil {
		return err
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

// children visits what is wanted of an index.
func (w *walk) children(index v1.Descriptor, all []v1.Descriptor, depth int) error {
	if len(all) == 0 {
		return nil
	}
	taken := map[string]bool{}
	present := 0
	for _, child := range all {
		name := ""
		if child.Platform != nil {
			name = Platform(*child.Platform)
		}
		if len(w.platforms) > 0 && (!slices.Contains(w.platforms, name) || taken[name]) {
			continue
		}
		if _, ok := w.store.Has(child.Digest); !ok {
			continue
		}
		if err := w.visit(child, depth+1); err != nil {
			return err
		}
		taken[name] = true
		present++
	}
	for _, name := range w.platforms {
		if !taken[name] {
			return fmt.Errorf("index %s for %s: %w", index.Digest, name, ErrIncomplete)
		}
	}
	if present == 0 {
		return fmt.Errorf("index %s: %w", index.Digest, ErrIncomplete)
	}
	return nil
}

// Platform writes a platform as docker does: linux/arm64/v8.
func Platform(p v1.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
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
