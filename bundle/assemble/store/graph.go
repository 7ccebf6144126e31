package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// ErrIncomplete is the cause when the store lacks a blob of an image.
var ErrIncomplete = errors.New("not all of the image is in the local store")

// Blob is one blob of an image, with the media type its parent gives it.
type Blob struct {
	v1.Descriptor
	Manifest bool // a manifest or an index
}

// Walk lists every blob an image reaches, each once, children before parents. Of an index it takes the given platforms, written by
// Platform, and one that the store lacks is ErrIncomplete; without any it takes those that the store holds, of which there must be
// one. A missing config or layer is ErrIncomplete. With an error come the blobs that were found before it.
func (s *Store) Walk(root v1.Descriptor, platforms ...string) (blobs []Blob, err error) {
	err = ocigraph.Walk(root, ocigraph.Visitor{
		Load: func(d v1.Descriptor) (ocigraph.Manifest, error) {
			if _, ok := s.Has(d.Digest); !ok {
				return ocigraph.Manifest{}, fmt.Errorf("manifest %s: %w", d.Digest, ErrIncomplete)
			}
			return ocigraph.Read(s, d.Digest)
		},
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) { return s.children(n, platforms) },
		Leaf: func(_ ocigraph.Node, d v1.Descriptor) error {
			if _, ok := s.Has(d.Digest); !ok {
				return fmt.Errorf("blob %s: %w", d.Digest, ErrIncomplete)
			}
			blobs = append(blobs, Blob{Descriptor: d})
			return nil
		},
		Done: func(n ocigraph.Node) error {
			d := n.Descriptor
			d.Size = n.Manifest.Size
			if d.MediaType == "" {
				d.MediaType = n.Manifest.MediaType
			}
			blobs = append(blobs, Blob{Descriptor: d, Manifest: true})
			return nil
		},
	})
	return blobs, err
}

// children picks what is wanted of an index.
func (s *Store) children(index ocigraph.Node, platforms []string) (wanted []v1.Descriptor, err error) {
	if len(index.Manifest.Manifests) == 0 {
		return nil, nil
	}
	taken := map[string]bool{}
	for _, child := range index.Manifest.Manifests {
		name := ""
		if child.Platform != nil {
			name = Platform(*child.Platform)
		}
		if len(platforms) > 0 && (!slices.Contains(platforms, name) || taken[name]) {
			continue
		}
		if _, ok := s.Has(child.Digest); ok {
			taken[name] = true
			wanted = append(wanted, child)
		}
	}
	for _, name := range platforms {
		if !taken[name] {
			return nil, fmt.Errorf("index %s for %s: %w", index.Digest, name, ErrIncomplete)
		}
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("index %s: %w", index.Digest, ErrIncomplete)
	}
	return wanted, nil
}

// Size adds up blobs.
func Size(blobs []Blob) int64 {
	var n int64
	for _, b := range blobs {
		n += b.Size
	}
	return n
}

// Compressed tells by its media type that a blob gains nothing from being compressed once more.
func (b Blob) Compressed() bool {
	return strings.HasSuffix(b.MediaType, "gzip") || strings.HasSuffix(b.MediaType, "+zstd")
}
