package assemble

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// careRepository is where the image of `sealinstall care` lies in every bundle that can make a cluster.
const careRepository = "sealbuild.io/care"

// careImage makes the image that every node runs to keep its IPVS rules: the installer and nothing else, of several platforms an
// index. It depends on the installers' bytes alone, so that the same ones always give the same image.
func (b *Builder) careImage(stubs []installer, platforms []v1.Platform) (store.Pinned, error) {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	name := digest.SHA256.Digester()
	for i, stub := range stubs {
		manifest, err := b.carePart(stub, platforms[i])
		if err != nil {
			return store.Pinned{}, err
		}
		manifest.Platform = &platforms[i]
		index.Manifests = append(index.Manifests, manifest)
		_, _ = name.Hash().Write(stub.data) // a hash takes everything
	}
	root := index.Manifests[0]
	root.Platform = nil
	var of []string
	if len(stubs) > 1 {
		var err error
		if root, err = b.putJSON(v1.MediaTypeImageIndex, index); err != nil {
			return store.Pinned{}, err
		}
		for _, p := range platforms {
			of = append(of, store.Platform(p))
		}
	}
	ref := careRepository + ":" + name.Digest().Encoded()[:12]
	return pull.Pin(b.Store, pull.Wanted{Ref: ref}, root, of...)
}

// carePart makes the image of one platform, unless the store has it.
func (b *Builder) carePart(stub installer, platform v1.Platform) (v1.Descriptor, error) {
	cache := b.cacheFile("care", store.Platform(platform)+" "+digest.FromBytes(stub.data).String())
	var made v1.Descriptor
	if raw, err := os.ReadFile(cache); err == nil && json.Unmarshal(raw, &made) == nil {
		if _, err := b.Store.Walk(made); err == nil {
			return made, nil
		}
	}
	layer, diffID, err := careLayer(stub.data)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("make the care image: %w", err)
	}
	layerDigest, err := b.Store.PutBytes(layer)
	if err != nil {
		return v1.Descriptor{}, err
	}
	epoch := time.Unix(0, 0).UTC()
	config, err := b.putJSON(v1.MediaTypeImageConfig, v1.Image{
		Created:  &epoch,
		Platform: platform,
		Config: v1.ImageConfig{
			Entrypoint: []string{"/usr/bin/sealinstall", "care"},
			Env:        []string{"PATH=/usr/bin"},
			WorkingDir: "/",
		},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
	})
	if err != nil {
		return v1.Descriptor{}, err
	}
	made, err = b.putJSON(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    config,
		Layers:    []v1.Descriptor{{MediaType: v1.MediaTypeImageLayerGzip, Digest: layerDigest, Size: int64(len(layer))}},
	})
	if err == nil {
		b.remember(cache, made)
	}
	return made, err
}

// putJSON stores a document and describes it.
func (b *Builder) putJSON(mediaType string, v any) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	d, err := b.Store.PutBytes(data)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, nil
}

// careLayer is the layer as gzip, which every runtime and registry takes, and the digest of its tar archive.
func careLayer(stub []byte) ([]byte, digest.Digest, error) {
	var packed bytes.Buffer
	packed.Grow(len(stub) / 2)
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, "", err
	}
	diffID := digest.SHA256.Digester()
	archive := tar.NewWriter(io.MultiWriter(z, diffID.Hash()))
	epoch := time.Unix(0, 0)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "usr/"},
		{Typeflag: tar.TypeDir, Name: "usr/bin/"},
		{Typeflag: tar.TypeReg, Name: "usr/bin/sealinstall", Size: int64(len(stub))},
	} {
		h.Mode, h.ModTime, h.Format = 0o755, epoch, tar.FormatUSTAR
		if err := archive.WriteHeader(&h); err != nil {
			return nil, "", err
		}
	}
	_, err = archive.Write(stub)
	if err := errors.Join(err, archive.Close(), z.Close()); err != nil {
		return nil, "", err
	}
	return packed.Bytes(), diffID.Digest(), nil
}
