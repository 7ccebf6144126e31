package main

import (
	_ "crypto/sha256" // the digests' algorithm
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is an OCI image layout being written; input is where files of layers
// come from.
type layout struct {
	dir, input string
}

func newLayout(dir, input string) (*layout, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, err
	}
	return &layout{dir: dir, input: input}, nil
}

// blob is one file of the layout while its digest is not known yet.
type blob struct {
	layout *layout
	file   *os.File
	hash   hash.Hash
	size   int64
}

func (l *layout) create() (*blob, error) {
	temp, err := os.CreateTemp(l.dir, ".blob-")
	if err != nil {
		return nil, err
	}
	return &blob{layout: l, file: temp, hash: digest.Canonical.Hash()}, nil
}

func (b *blob) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	b.hash.Write(p[:n])
	b.size += int64(n)
	return n, err
}

// commit names the blob by its digest.
func (b *blob) commit(mediaType string) (v1.Descriptor, error) {
	d := digest.NewDigest(digest.Canonical, b.hash)
	if err := b.file.Chmod(0o644); err != nil {
		return v1.Descriptor{}, err
	}
	if err := b.file.Close(); err != nil {
		return v1.Descriptor{}, err
	}
	if err := os.Rename(b.file.Name(), filepath.Join(b.layout.dir, "blobs", "sha256", d.Encoded())); err != nil {
		return v1.Descriptor{}, err
	}
	b.file = nil
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: b.size}, nil
}

// discard removes a blob that was not committed.
func (b *blob) discard() error {
	if b.file == nil {
		return nil
	}
	b.file.Close()
	return os.Remove(b.file.Name())
}

func (l *layout) putJSON(mediaType string, value any) (v1.Descriptor, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return v1.Descriptor{}, err
	}
	b, err := l.create()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := b.Write(data); err != nil {
		return v1.Descriptor{}, fmt.Errorf("write JSON: %w (%w)", err, b.discard())
	}
	return b.commit(mediaType)
}

// putImage writes config and manifest over layers that are there already.
func (l *layout) putImage(spec image, arch string, layers []builtLayer) (v1.Descriptor, error) {
	epoch := time.Unix(0, 0).UTC()
	platform := v1.Platform{OS: "linux", Architecture: arch}
	config := v1.Image{
		Created:  &epoch,
		Platform: platform,
		Config: v1.ImageConfig{
			Env:        []string{"PATH=" + searchPath, "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
			Entrypoint: spec.entrypoint,
			Cmd:        spec.cmd,
			WorkingDir: "/",
			User:       spec.user,
			Labels:     spec.labels,
		},
		RootFS: v1.RootFS{Type: "layers"},
	}
	for _, port := range spec.ports {
		if config.Config.ExposedPorts == nil {
			config.Config.ExposedPorts = map[string]struct{}{}
		}
		config.Config.ExposedPorts[port] = struct{}{}
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, layer := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.diffID)
		config.History = append(config.History, v1.History{Created: &epoch, CreatedBy: layer.comment})
		manifest.Layers = append(manifest.Layers, layer.descriptor)
	}
	var err error
	if manifest.Config, err = l.putJSON(v1.MediaTypeImageConfig, config); err != nil {
		return v1.Descriptor{}, err
	}
	descriptor, err := l.putJSON(v1.MediaTypeImageManifest, manifest)
	descriptor.Platform = &platform
	return descriptor, err
}

// putIndex writes the image index that joins one image's architectures.
func (l *layout) putIndex(manifests []v1.Descriptor) (v1.Descriptor, error) {
	return l.putJSON(v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: manifests,
	})
}

// finish writes the files that make the directory an image layout, last, so
// that an unfinished one is not taken for one.
func (l *layout) finish(named []v1.Descriptor) error {
	index, err := json.MarshalIndent(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: named,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, v1.ImageIndexFile), append(index, '\n'), 0o644); err != nil {
		return err
	}
	marker, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, v1.ImageLayoutFile), marker, 0o644)
}
