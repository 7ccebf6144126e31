package bundle

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxManifest = 4 << 20 // bytes; what registries refuse beyond
	maxNesting  = 4       // of indexes in indexes
)

// Reach lists the blobs that an image is made of, each once, children before
// parents, those included that the site is expected to have. What an index
// names for platforms that the bundle does not hold is left out.
func (r *Reader) Reach(image Image) ([]Expected, error) {
	w := reach{r: r, seen: map[digest.Digest]bool{}}
	if err := w.manifest(image.Digest, 0); err != nil {
		return nil, fmt.Errorf("image %s: %w", image.Name, err)
	}
	return w.all, nil
}

type reach struct {
	r    *Reader
	seen map[digest.Digest]bool
	all  []Expected
}

func (w *reach) manifest(d digest.Digest, depth int) error {
	if w.seen[d] {
		return nil
	}
	w.seen[d] = true
	if depth > maxNesting {
		return fmt.Errorf("index %s: indexes nested deeper than %d", d, maxNesting)
	}
	raw, err := w.r.ReadBlob(d, maxManifest)
	if err != nil {
		return err
	}
	var m struct {
		Config    *v1.Descriptor  `json:"config"`
		Layers    []v1.Descriptor `json:"layers"`
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("manifest %s: %w", d, err)
	}
	for _, child := range m.Manifests {
		if _, ok := w.r.Stat(child.Digest); !ok {
			continue
		}
		if err := w.manifest(child.Digest, depth+1); err != nil {
			return err
		}
	}
	if m.Config != nil {
		w.leaf(*m.Config)
	}
	for _, layer := range m.Layers {
		w.leaf(layer)
	}
	w.all = append(w.all, Expected{d, int64(len(raw))})
	return nil
}

func (w *reach) leaf(d v1.Descriptor) {
	if !w.seen[d.Digest] {
		w.seen[d.Digest] = true
		w.all = append(w.all, Expected{d.Digest, d.Size})
	}
}
