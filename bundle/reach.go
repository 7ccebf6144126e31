package bundle

import (
	"fmt"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Reach lists the blobs that an image is made of, each once, children before parents, those included that the site is expected to
// have. What an index names for platforms that the bundle does not hold is left out.
func (r *Reader) Reach(image Image) ([]Expected, error) {
	var all []Expected
	err := ocigraph.Walk(v1.Descriptor{Digest: image.Digest}, ocigraph.Visitor{
		Load: func(d v1.Descriptor) (ocigraph.Manifest, error) { return ocigraph.Read(r, d.Digest) },
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) {
			return slices.DeleteFunc(n.Manifest.Manifests, func(child v1.Descriptor) bool {
				_, ok := r.Stat(child.Digest)
				return !ok
			}), nil
		},
		Leaf: func(_ ocigraph.Node, d v1.Descriptor) error {
			all = append(all, Expected{d.Digest, d.Size})
			return nil
		},
		Done: func(n ocigraph.Node) error {
			all = append(all, Expected{n.Digest, n.Manifest.Size})
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image.Name, err)
	}
	return all, nil
}
