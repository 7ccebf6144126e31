package sbom

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The types of bills, as artifacts in a registry.
const (
	CycloneDXType = "application/vnd.cyclonedx+json"
	SPDXType      = "application/spdx+json"
)

// Blobs is where artifacts are put.
type Blobs interface {
	PutBytes(data []byte) (digest.Digest, error)
}

// OfImage is the bill of one image of the bundle, with the places of its packages.
func (b Bill) OfImage(name string) Bill {
	images := slices.DeleteFunc(slices.Clone(b.Images), func(i Image) bool { return i.Name != name })
	for n := range images {
		images[n].NeededBy = nil // those are not in this bill
	}
	return Bill{Name: name, Made: b.Made, Images: images, Places: true}
}

// Attach puts the bills of one image where its blobs lie, each as an artifact whose subject is what it is about: the image as it is
// named, and of an index also the image of each platform. An image that was not searched gets none: what it says of itself it has.
func (b Bill) Attach(to Blobs, name string) ([]v1.Descriptor, error) {
	var manifests []v1.Descriptor
	whole := b.OfImage(name)
	for _, image := range whole.Images {
		subjects := []Image{image}
		for _, p := range image.Parts {
			if p.Digest != image.Digest {
				one := image
				one.Digest, one.MediaType, one.Size, one.Platforms, one.Parts = p.Digest, p.MediaType, p.Size, []string{p.Platform}, []Part{p}
				subjects = append(subjects, one)
			}
		}
		for _, subject := range subjects {
			if !slices.ContainsFunc(subject.Parts, func(p Part) bool { return p.Found != nil }) {
				continue
			}
			whole.Images = []Image{subject}
			both, err := whole.artifacts(to, v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size})
			if err != nil {
				return nil, err
			}
			manifests = append(manifests, both...)
		}
	}
	return manifests, nil
}

// artifacts puts a bill in both formats.
func (b Bill) artifacts(to Blobs, subject v1.Descriptor) (manifests []v1.Descriptor, err error) {
	for _, format := range []struct {
		mediaType string
		write     func() ([]byte, error)
	}{{CycloneDXType, b.CycloneDX}, {SPDXType, b.SPDX}} {
		text, err := format.write()
		if err != nil {
			return nil, err
		}
		content, err := put(to, format.mediaType, text)
		if err != nil {
			return nil, err
		}
		if _, err := put(to, v1.MediaTypeEmptyJSON, v1.DescriptorEmptyJSON.Data); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(v1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: format.mediaType,
			Config: v1.DescriptorEmptyJSON, Layers: []v1.Descriptor{content}, Subject: &subject,
		})
		if err != nil {
			return nil, fmt.Errorf("write the manifest of a bill: %w", err)
		}
		manifest, err := put(to, v1.MediaTypeImageManifest, raw)
		if err != nil {
			return nil, err
		}
		manifest.ArtifactType = format.mediaType
		manifests = append(manifests, manifest)
	}
	return manifests, nil
}

func put(to Blobs, mediaType string, data []byte) (v1.Descriptor, error) {
	d, err := to.PutBytes(data)
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, err
}
