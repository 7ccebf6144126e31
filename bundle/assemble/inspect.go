package assemble

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Inspection is what a bundle, or a cluster image of the store, holds. The JSON names are a promise to scripts.
type Inspection struct {
	*bundle.Description                   // of a bundle
	Images              []InspectedImage  `json:"images"`
	Blobs               bundle.BlobTotals `json:"blobs"`
}

// InspectedImage is one image. The places are known of images in the store.
type InspectedImage struct {
	Name      string            `json:"name"`
	Digest    digest.Digest     `json:"digest"`
	MediaType string            `json:"mediaType"`
	Platforms []string          `json:"platforms"`
	Size      int64             `json:"size"` // bytes of every blob it reaches
	Kind      bundle.Kind       `json:"kind"`
	Type      string            `json:"type,omitempty"` // of a cluster image
	Labels    map[string]string `json:"labels,omitempty"`
	Certainty string            `json:"certainty,omitempty"`
	File      string            `json:"file,omitempty"`
	Line      int               `json:"line,omitempty"`
}

// InspectBundle describes an open bundle.
func InspectBundle(r *bundle.Reader) (Inspection, error) {
	d, err := r.Describe()
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{Description: &d, Images: []InspectedImage{}, Blobs: d.Blobs}
	for _, m := range r.Images() {
		i.Images = append(i.Images, InspectedImage{
			Name: m.Name, Digest: m.Digest, MediaType: m.MediaType, Platforms: m.Platforms,
			Size: m.Size, Kind: m.Kind, Type: m.ClusterType,
		})
	}
	return i, nil
}

// InspectImage describes a cluster image of the store and what it needs.
func (b *Builder) InspectImage(name string) (Inspection, error) {
	r, err := b.Store.Load(name)
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{Images: []InspectedImage{{
		Name: r.Name, Digest: r.Manifest.Digest, MediaType: r.Manifest.MediaType, Platforms: strings.Split(r.Platform, ","),
		Size: r.Size, Kind: bundle.KindCluster, Type: r.ClusterType, Labels: r.Labels,
	}}}
	roots := []v1.Descriptor{r.Manifest}
	for _, p := range r.Images {
		i.Images = append(i.Images, InspectedImage{
			Name: p.Ref, Digest: p.Digest, MediaType: p.MediaType, Platforms: p.Platforms, Size: p.Size,
			Kind: bundle.KindImage, Certainty: p.Certainty, File: p.File, Line: p.Line,
		})
		roots = append(roots, v1.Descriptor{Digest: p.Digest, MediaType: p.MediaType})
	}
	seen := map[digest.Digest]bool{}
	for _, root := range roots {
		blobs, err := b.Store.Walk(root)
		if err != nil {
			return Inspection{}, fmt.Errorf("image %s: %w", r.Name, err)
		}
		addBlobs(&i.Blobs, blobs, seen)
	}
	return i, nil
}

func addBlobs(t *bundle.BlobTotals, blobs []store.Blob, seen map[digest.Digest]bool) {
	for _, b := range blobs {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		t.Count++
		t.Size += b.Size
		t.StoredSize += b.Size
		if b.Compressed() {
			t.AsIs++
			t.AsIsSize += b.Size
		}
	}
}
