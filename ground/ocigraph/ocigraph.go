// Package ocigraph is the graph that images are: an index names manifests, a manifest names its config and its layers. It
// has one reading of the documents, in the writings of OCI and of Docker's schema 2, one walk over them, and one set of
// limits for everybody who reads them: whatever one part of the project takes, every other can read.
//
// The caller of a walk decides what a missing child, a foreign layer or another platform means; see [Visitor].
package ocigraph

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/count"
)

const (
	// MaxManifest bounds manifests, indexes and configs, in bytes. It is what every registry has to take by the distribution
	// specification, and what distribution, containerd and containers/image refuse beyond.
	MaxManifest = 4 << 20

	// MaxNesting bounds how many indexes lie in each other below the one where a walk begins.
	MaxNesting = 8
)

// LimitError is a manifest or an index that is beyond a limit: of Bytes or of Nesting, whichever is not 0.
type LimitError struct {
	Digest  digest.Digest
	Bytes   int64
	Nesting int
}

func (e *LimitError) Error() string {
	if e.Nesting > 0 {
		return fmt.Sprintf("manifest %s: indexes nested deeper than %d", e.Digest, e.Nesting)
	}
	return fmt.Sprintf("manifest %s: more than %d bytes", e.Digest, e.Bytes)
}

// CheckSize returns a *LimitError for what no manifest, index or config may have in bytes.
func CheckSize(d digest.Digest, size int64) error {
	if size > MaxManifest {
		return &LimitError{Digest: d, Bytes: MaxManifest}
	}
	return nil
}

// MediaTypes returns those of manifests and indexes.
func MediaTypes() []string {
	return []string{
		v1.MediaTypeImageManifest, v1.MediaTypeImageIndex,
		"application/vnd.docker.distribution.manifest.v2+json", dockerList,
	}
}

const dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"

// IsManifest tells whether a media type is that of a manifest or an index.
func IsManifest(mediaType string) bool { return slices.Contains(MediaTypes(), mediaType) }

// IsIndex tells whether a media type is that of an index.
func IsIndex(mediaType string) bool {
	return mediaType == v1.MediaTypeImageIndex || mediaType == dockerList
}

// Manifest is what a manifest or an index says. Fields that the document does not have are empty; none is checked.
type Manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        *v1.Descriptor  `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	Manifests     []v1.Descriptor `json:"manifests"` // of an index
	// Subject is what the manifest is about. No walk goes there: whoever has a signature need not have what it signs.
	Subject *v1.Descriptor `json:"subject"`

	Size int64 `json:"-"` // of the document, in bytes
}

// Leaves are the config and the layers.
func (m Manifest) Leaves() []v1.Descriptor {
	if m.Config == nil {
		return m.Layers
	}
	return append([]v1.Descriptor{*m.Config}, m.Layers...)
}

// Parse reads a document of the given digest, which is only named in errors. A document that is too large is a *LimitError.
func Parse(d digest.Digest, raw []byte) (Manifest, error) {
	if err := CheckSize(d, int64(len(raw))); err != nil {
		return Manifest{}, err
	}
	m := Manifest{Size: int64(len(raw))}
	if err := json.Unmarshal(raw, &m); err != nil {
		return Manifest{}, fmt.Errorf("manifest %s: what lies there is none: %w", d, err)
	}
	return m, nil
}

// ReadConfig reads the config of an image.
func ReadConfig(src Source, d digest.Digest) (config v1.Image, err error) {
	raw, err := src.ReadBlob(d, MaxManifest)
	if err != nil {
		return config, err
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return config, fmt.Errorf("config %s: what lies there is none: %w", d, err)
	}
	return config, nil
}

// LayoutImage is the one image that an OCI layout holds, without what the layout says of it.
func LayoutImage(dir string) (v1.Descriptor, error) {
	raw, err := os.ReadFile(filepath.Join(dir, v1.ImageIndexFile))
	if err != nil {
		return v1.Descriptor{}, err
	}
	index, err := Parse(digest.FromBytes(raw), raw)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if len(index.Manifests) != 1 {
		return v1.Descriptor{}, fmt.Errorf("%s where one is expected", count.Of(len(index.Manifests), "image"))
	}
	image := index.Manifests[0]
	image.Annotations = nil
	return image, nil
}

// Source is where documents lie.
type Source interface {
	// ReadBlob returns a blob of at most limit bytes whole, and nothing that has another digest.
	ReadBlob(d digest.Digest, limit int64) ([]byte, error)
}

// Read reads a manifest or an index.
func Read(src Source, d digest.Digest) (Manifest, error) {
	raw, err := src.ReadBlob(d, MaxManifest)
	if err != nil {
		return Manifest{}, err
	}
	return Parse(d, raw)
}
