package assemble

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// careRepository is where the image of `sealinstall care` lies in every
// bundle that can make a cluster.
const careRepository = "sealbuild.io/care"

// careImage makes the image that every node runs to keep its IPVS rules: the
// installer and nothing else. It depends on the installer's bytes alone, so
// that the same installer always gives the same image.
func (b *Builder) careImage(stub installer, platform v1.Platform) (store.Pinned, error) {
	layer, diffID, err := careLayer(stub.data)
	if err != nil {
		return store.Pinned{}, fmt.Errorf("make the care image: %w", err)
	}
	layerDigest, err := b.Store.PutBytes(layer)
	if err != nil {
		return store.Pinned{}, err
	}
	epoch := time.Unix(0, 0).UTC()
	config := v1.Image{
		Created:  &epoch,
		Platform: platform,
		Config: v1.ImageConfig{
			Entrypoint: []string{"/usr/bin/sealinstall", "care"},
			Env:        []string{"PATH=/usr/bin"},
			WorkingDir: "/",
		},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
	}
	configDesc, err := b.putJSON(v1.MediaTypeImageConfig, config)
	if err != nil {
		return store.Pinned{}, err
	}
	manifest, err := b.putJSON(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    configDesc,
		Layers:    []v1.Descriptor{{MediaType: v1.MediaTypeImageLayerGzip, Digest: layerDigest, Size: int64(len(layer))}},
	})
	if err != nil {
		return store.Pinned{}, err
	}
	ref := careRepository + ":" + digest.FromBytes(stub.data).Encoded()[:12]
	return pull.Pin(b.Store, pull.Wanted{Ref: ref}, manifest)
}

// putJSON stores a document and describes it.
func (b *Builder) putJSON(mediaType string, v any) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("make the care image: %w", err)
	}
	d, err := b.Store.PutBytes(data)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, nil
}

// careLayer is the layer as gzip, which every runtime and registry takes, and
// the digest of its tar archive.
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
	for _, dir := range []string{"usr/", "usr/bin/"} {
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch, Format: tar.FormatUSTAR}); err != nil {
			return nil, "", err
		}
	}
	if err := archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "usr/bin/sealinstall", Mode: 0o755, Size: int64(len(stub)), ModTime: epoch, Format: tar.FormatUSTAR,
	}); err != nil {
		return nil, "", err
	}
	if _, err := archive.Write(stub); err != nil {
		return nil, "", err
	}
	if err := archive.Close(); err != nil {
		return nil, "", err
	}
	if err := z.Close(); err != nil {
		return nil, "", err
	}
	return packed.Bytes(), diffID.Digest(), nil
}
