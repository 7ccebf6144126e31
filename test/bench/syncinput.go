package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
)

// Sizes of the layers of the sync measurements, in bytes: 40 applications as the
// pull measurements have them, and the one image that is new.
const (
	syncLayer    = 13 << 20
	newLayer     = 20_000_000
	newSmall     = 4_300_000
	newImage     = "bench.example.com/team/new:v1"
	manyImages   = 2500 // of four blobs
	manyLayer    = 2 << 10
	fanoutImages = 3
)

// madeImage is an image whose layers are random, as compressed ones look.
type madeImage struct {
	name   string
	layers []madeBlob
}

type madeBlob struct {
	seed uint64
	size int
}

// applications are n images of three layers of which one is shared by four.
func applications(n int) []madeImage {
	var list []madeImage
	for i := range n {
		list = append(list, madeImage{
			fmt.Sprintf("%s/team/app-%02d:v1", madeDomain, i),
			[]madeBlob{{uint64(i % madeShared), syncLayer}, {uint64(1000 + 2*i), syncLayer}, {uint64(1001 + 2*i), syncLayer}},
		})
	}
	return list
}

// small are n images of a manifest, a configuration and two layers.
func small(n int) []madeImage {
	var list []madeImage
	for i := range n {
		list = append(list, madeImage{
			fmt.Sprintf("%s/many/application-%04d:v1", madeDomain, i),
			[]madeBlob{{uint64(100_000 + 2*i), manyLayer}, {uint64(100_001 + 2*i), manyLayer}},
		})
	}
	return list
}

// writeMade writes a bundle of images, without a stub.
func writeMade(ctx context.Context, path string, list []madeImage) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := bundle.NewWriter(f, bundle.WriterOptions{})
	if err != nil {
		return err
	}
	m := madeWriter{ctx, w}
	for _, i := range list {
		if err := m.image(i); err != nil {
			return fmt.Errorf("image %s: %w", i.name, err)
		}
	}
	if _, err := w.Close(); err != nil {
		return err
	}
	return f.Sync()
}

type madeWriter struct {
	ctx context.Context
	w   *bundle.Writer
}

func (m madeWriter) image(i madeImage) error {
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers"}, Author: i.name}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	var size int64
	for _, l := range i.layers {
		d, err := m.blob(v1.MediaTypeImageLayerGzip, randomBytes(l.seed, l.size))
		if err != nil {
			return err
		}
		size += d.Size
		manifest.Layers = append(manifest.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d.Digest)
	}
	var err error
	if manifest.Config, err = m.json(v1.MediaTypeImageConfig, config); err != nil {
		return err
	}
	d, err := m.json(manifest.MediaType, manifest)
	if err != nil {
		return err
	}
	return m.w.AddImage(bundle.Image{
		Name: i.name, Digest: d.Digest, MediaType: d.MediaType, ManifestSize: d.Size, Platforms: []string{"linux/amd64"},
		Size: size + d.Size + manifest.Config.Size, Kind: bundle.KindImage,
	})
}

func (m madeWriter) json(mediaType string, v any) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return m.blob(mediaType, data)
}

func (m madeWriter) blob(mediaType string, data []byte) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, m.w.AddBlob(m.ctx, d.Digest, d.Size, false, bytes.NewReader(data))
}

// randomBytes depend on the seed alone and do not compress.
func randomBytes(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	b := make([]byte, n)
	_, _ = r.Read(b) // never fails
	return b
}
