package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
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
	var ways map[digest.Digest][]v1.Descriptor // to the images of the platforms
	err = ocigraph.Walk(root, ocigraph.Visitor{
		Load: func(d v1.Descriptor) (ocigraph.Manifest, error) {
			if _, ok := s.Has(d.Digest); !ok {
				return ocigraph.Manifest{}, fmt.Errorf("manifest %s: %w", d.Digest, ErrIncomplete)
			}
			return ocigraph.Read(s, d.Digest)
		},
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) {
			if len(platforms) == 0 || n.Manifest.Config != nil {
				return s.held(n)
			}
			if n.Depth == 0 {
				var err error
				if ways, err = waysTo(s, n, platforms); err != nil {
					return nil, err
				}
			}
			return ways[n.Digest], nil
		},
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

// waysTo lists, for each index on the way, what to take of it so that the images of the platforms are reached.
func waysTo(s *Store, root ocigraph.Node, platforms []string) (map[digest.Digest][]v1.Descriptor, error) {
	all, err := entries(s, root.Digest, root.Manifest)
	if err != nil {
		return nil, err
	}
	ways := map[digest.Digest][]v1.Descriptor{}
	for _, name := range platforms {
		found := slices.IndexFunc(all, func(e ocigraph.Entry) bool {
			_, ok := s.Has(e.Digest)
			return ok && Platform(*e.Platform) == name
		})
		if found < 0 {
			return nil, fmt.Errorf("index %s for %s: %w", root.Digest, name, ErrIncomplete)
		}
		at := root.Digest
		for _, next := range append(slices.Clone(all[found].Way), all[found].Descriptor) {
			if !slices.ContainsFunc(ways[at], func(d v1.Descriptor) bool { return d.Digest == next.Digest }) {
				ways[at] = append(ways[at], next)
			}
			at = next.Digest
		}
	}
	return ways, nil
}

// held lists those of an index that the store holds.
func (s *Store) held(index ocigraph.Node) (wanted []v1.Descriptor, err error) {
	for _, child := range index.Manifest.Manifests {
		if _, ok := s.Has(child.Digest); ok {
			wanted = append(wanted, child)
		}
	}
	if len(wanted) == 0 && len(index.Manifest.Manifests) > 0 {
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
