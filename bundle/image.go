package bundle

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kind tells why an image is in the bundle.
type Kind string

const (
	// KindCluster marks a cluster image: what was built from a Kubefile.
	KindCluster Kind = "cluster"
	// KindImage marks a container image that cluster images need.
	KindImage Kind = "image"
)

// Image is one named image of a bundle.
type Image struct {
	// Name is the full reference: registry.k8s.io/pause:3.10.2, docker.io/library/nginx@sha256:…, or name:tag@digest.
	Name string `json:"name"`
	// Digest is of the manifest or image index, which is a blob of the bundle.
	Digest digest.Digest `json:"digest"`
	// MediaType is of that manifest or index.
	MediaType string `json:"mediaType"`
	// ManifestSize is the size in bytes of that manifest or index.
	ManifestSize int64 `json:"manifestSize"`
	// Platforms that the bundle holds of it, as "linux/amd64".
	Platforms []string `json:"platforms"`
	// Size in bytes of every blob it reaches: manifests, configs, layers. Referrers do not count.
	Size int64 `json:"size"`
	Kind Kind  `json:"kind"`
	// ClusterType of a cluster image: rootfs, patch or application.
	ClusterType string `json:"clusterType,omitempty"`
	// Referrers are manifests that name the image, or the image of one of its platforms, as their subject: its bills of materials.
	// Where the image is served, they are.
	Referrers []v1.Descriptor `json:"referrers,omitempty"`
}

func (i Image) check() error {
	switch {
	case i.Name == "":
		return errors.New("an image has no name")
	case i.Kind != KindCluster && i.Kind != KindImage:
		return fmt.Errorf("image %s is of unknown kind %q", i.Name, i.Kind)
	case i.MediaType == "":
		return fmt.Errorf("image %s has no media type", i.Name)
	case i.Size < 0 || i.ManifestSize < 0:
		return fmt.Errorf("image %s has a negative size", i.Name)
	}
	if err := checkDigest(i.Digest); err != nil {
		return fmt.Errorf("image %s: %w", i.Name, err)
	}
	for _, r := range i.Referrers {
		if err := checkDigest(r.Digest); err != nil {
			return fmt.Errorf("image %s, referrer: %w", i.Name, err)
		}
	}
	return nil
}

// checkDigest refuses what blobs/sha256/ cannot name.
func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %s: only sha256 is supported", d)
	}
	return nil
}

func sumDigest(sum []byte) digest.Digest { return digest.NewDigestFromBytes(digest.SHA256, sum) }

func blobPath(d digest.Digest) string { return v1.ImageBlobsDir + "/sha256/" + d.Encoded() }

// ociLayout is the content of the file that marks a directory as a layout.
func ociLayout() []byte {
	return []byte(`{"imageLayoutVersion":"` + v1.ImageLayoutVersion + `"}`)
}

// ociIndex is index.json: what makes the archive an image layout to tools that know nothing of bundles.
func ociIndex(images []Image) ([]byte, error) {
	index := v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageIndex,
		Manifests: make([]v1.Descriptor, 0, len(images)),
	}
	for _, i := range images {
		index.Manifests = append(index.Manifests, v1.Descriptor{
			MediaType:   i.MediaType,
			Digest:      i.Digest,
			Size:        i.ManifestSize,
			Annotations: map[string]string{v1.AnnotationRefName: i.Name},
		})
	}
	b, err := json.Marshal(index)
	if err != nil {
		return nil, fmt.Errorf("encode index.json: %w", err)
	}
	return b, nil
}

// Platforms lists what the bundle has a stub for, the one in front first.
func (r *Reader) Platforms() []string {
	var list []string
	if r.start > 0 && r.index.Stub.Platform != "" {
		list = append(list, r.index.Stub.Platform)
	}
	for _, s := range r.index.Stubs {
		list = append(list, s.Platform)
	}
	return list
}

// ErrNoStub is returned for a platform that the bundle has no stub for.
var ErrNoStub = errors.New("the bundle has no installer for the platform")

// OpenStub returns the stub for a platform, as "linux/arm64". What is read from it was checked.
func (r *Reader) OpenStub(platform string) (*io.SectionReader, error) {
	if platform == r.index.Stub.Platform && r.start > 0 {
		h := sha256.New()
		if _, err := io.Copy(h, r.Stub()); err != nil {
			return nil, fmt.Errorf("read the stub: %w", err)
		}
		if got := sumDigest(h.Sum(nil)); got != r.index.Stub.Digest {
			return nil, corrupt(PartStub, 0, r.start, "it hashes to %s", got)
		}
		return r.Stub(), nil
	}
	for _, s := range r.index.Stubs {
		if s.Platform == platform {
			b, err := r.BlobAt(s.Digest)
			if err != nil {
				return nil, err
			}
			return io.NewSectionReader(b, 0, b.Size()), nil
		}
	}
	return nil, fmt.Errorf("%w %s; it has one for %s", ErrNoStub, platform, strings.Join(r.Platforms(), ", "))
}

// StubDigest is what the index says of the stub for a platform; empty if there is none.
func (r *Reader) StubDigest(platform string) digest.Digest {
	if platform == r.index.Stub.Platform && r.start > 0 {
		return r.index.Stub.Digest
	}
	for _, s := range r.index.Stubs {
		if s.Platform == platform {
			return s.Digest
		}
	}
	return ""
}

// MaxDocument bounds a document, in bytes.
const MaxDocument = 64 << 20

// Documents lists the names of the documents in the order they lie in the file.
func (r *Reader) Documents() []string {
	var names []string
	for i := range r.index.Entries {
		if path := r.index.Entries[i].Path; isDocument(path) {
			names = append(names, path)
		}
	}
	return names
}

// ErrNoDocument is returned for a name that no document has.
var ErrNoDocument = errors.New("the bundle has no such document")

// Document reads a document, verified.
func (r *Reader) Document(name string) ([]byte, error) {
	for i := range r.index.Entries {
		if e := &r.index.Entries[i]; e.Path == name && isDocument(name) {
			return r.read(e, MaxDocument)
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoDocument, name)
}
