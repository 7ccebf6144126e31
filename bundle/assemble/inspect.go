package assemble

import (
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Inspection is what a bundle, or a cluster image of the store, holds. The
// JSON names are a promise to scripts.
type Inspection struct {
	FormatVersion int           `json:"formatVersion,omitempty"` // of a bundle
	PayloadOffset int64         `json:"payloadOffset,omitempty"` // bytes before the payload
	Size          int64         `json:"size,omitempty"`          // of the file
	IndexDigest   digest.Digest `json:"indexDigest,omitempty"`   // covers every byte of the file

	Images []InspectedImage `json:"images"`
	Blobs  BlobTotals       `json:"blobs"`
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

// BlobTotals says where the bytes go. Each blob counts once.
type BlobTotals struct {
	Count           int   `json:"count"`
	Size            int64 `json:"size"`                      // as registries know them
	StoredSize      int64 `json:"storedSize"`                // in the file
	AsIs            int   `json:"asIs"`                      // blobs kept as they are, compressed before
	AsIsSize        int64 `json:"asIsSize"`                  // their bytes
	CompressedSize  int64 `json:"compressedSize,omitempty"`  // bytes in the file of the others
	CompressedCount int   `json:"compressedCount,omitempty"` // the others
}

// InspectBundle describes an open bundle.
func InspectBundle(r *bundle.Reader, size int64) Inspection {
	i := Inspection{
		FormatVersion: r.FormatVersion(),
		PayloadOffset: r.PayloadOffset(),
		Size:          size,
		IndexDigest:   r.IndexDigest(),
		Images:        []InspectedImage{},
	}
	for _, m := range r.Images() {
		i.Images = append(i.Images, InspectedImage{
			Name: m.Name, Digest: m.Digest, MediaType: m.MediaType, Platforms: m.Platforms,
			Size: m.Size, Kind: m.Kind, Type: m.ClusterType,
		})
	}
	for _, b := range r.Blobs() {
		i.Blobs.Count++
		i.Blobs.Size += b.Size
		i.Blobs.StoredSize += b.StoredSize
		if b.Stored {
			i.Blobs.AsIs++
			i.Blobs.AsIsSize += b.Size
		} else {
			i.Blobs.CompressedCount++
			i.Blobs.CompressedSize += b.StoredSize
		}
	}
	return i
}

// InspectImage describes a cluster image of the store and what it needs.
func (b *Builder) InspectImage(name string) (Inspection, error) {
	r, err := b.Store.Load(name)
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{Images: []InspectedImage{{
		Name: r.Name, Digest: r.Manifest.Digest, MediaType: r.Manifest.MediaType, Platforms: []string{r.Platform},
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
		i.Blobs.add(blobs, seen)
	}
	return i, nil
}

func (t *BlobTotals) add(blobs []store.Blob, seen map[digest.Digest]bool) {
	for _, b := range blobs {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		t.Count++
		t.Size += b.Size
		t.StoredSize += b.Size
		if compressed(b) {
			t.AsIs++
			t.AsIsSize += b.Size
		}
	}
}
