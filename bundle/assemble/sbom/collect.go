package sbom

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Parts are the images of an image's platforms. One that the source does not hold is not among them.
func Parts(src ocigraph.Source, image v1.Descriptor, platforms []string) []Part {
	var parts []Part
	for _, platform := range platforms {
		one, err := partFor(src, image, platform)
		if err == nil && !slices.ContainsFunc(parts, func(p Part) bool { return p.Digest == one.Digest }) {
			mediaType := cmp.Or(one.MediaType, one.Manifest.MediaType, v1.MediaTypeImageManifest)
			parts = append(parts, Part{Platform: platform, Digest: one.Digest, MediaType: mediaType, Size: one.Manifest.Size})
		}
	}
	return parts
}

// partFor follows indexes to a platform's image.
func partFor(src ocigraph.Source, image v1.Descriptor, platform string) (ocigraph.Node, error) {
	load := func(d v1.Descriptor) (ocigraph.Manifest, error) { return ocigraph.Read(src, d.Digest) }
	return ocigraph.Find(image, load, func(n ocigraph.Node) (v1.Descriptor, error) {
		chosen := n.Manifest.Manifests[0]
		for _, child := range slices.Backward(n.Manifest.Manifests) {
			if ocigraph.IsIndex(child.MediaType) {
				chosen = child // it may be in there
			}
		}
		for _, child := range n.Manifest.Manifests {
			if child.Platform != nil && store.Platform(*child.Platform) == platform {
				chosen = child
			}
		}
		return chosen, nil
	})
}

// Labels are what the image of one platform says of itself: its config's labels, and before them its manifest's annotations. An
// image that says nothing that can be read has none: the digest tells what it is.
func Labels(src ocigraph.Source, part digest.Digest) map[string]string {
	raw, err := src.ReadBlob(part, ocigraph.MaxManifest)
	if err != nil {
		return nil
	}
	var m v1.Manifest
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	labels := map[string]string{}
	if config, err := ocigraph.ReadConfig(src, m.Config.Digest); err == nil {
		maps.Copy(labels, config.Config.Labels)
	}
	maps.Copy(labels, m.Annotations)
	return labels
}

// LabelledBase is the image that labels name as what theirs is built on, if they do.
func LabelledBase(labels map[string]string) []Base {
	if name := labels[v1.AnnotationBaseImageName]; name != "" {
		return []Base{{name, digest.Digest(labels[v1.AnnotationBaseImageDigest])}}
	}
	return nil
}

// Search looks for the packages in all images, the image of a platform after the other. What cannot be searched is told, and stays
// as it is; the first of them ends it where told returns an error.
func (b Bill) Search(ctx context.Context, s *Searcher, told func(image string, err error) error) error {
	for i := range b.Images {
		for n := range b.Images[i].Parts {
			part := &b.Images[i].Parts[n]
			found, err := s.Search(ctx, v1.Descriptor{MediaType: part.MediaType, Digest: part.Digest, Size: part.Size})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				if err := told(b.Images[i].Name, err); err != nil {
					return err
				}
			}
			part.Found = found
		}
	}
	return nil
}
