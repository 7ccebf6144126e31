package write

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// CareRepository is where the image of `sealinstall care` lies in every bundle that can make a cluster.
const CareRepository = "sealbuild.io/care"

// Care makes the image that every node runs to keep its IPVS rules: the Installer and nothing else, of several platforms an
// index. It depends on the Installers' bytes alone, so that the same ones always give the same image.
func Care(st *store.Store, stubs []Installer, platforms []v1.Platform) (store.Pinned, error) {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	name := digest.SHA256.Digester()
	for i, stub := range stubs {
		manifest, err := carePart(st, stub, platforms[i])
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
		if root, err = st.PutJSON(v1.MediaTypeImageIndex, index); err != nil {
			return store.Pinned{}, err
		}
		for _, p := range platforms {
			of = append(of, store.Platform(p))
		}
	}
	ref := CareRepository + ":" + name.Digest().Encoded()[:12]
	return store.Pin(st, store.Found{Ref: ref}, root, of...)
}

// carePart makes the image of one platform, unless the store has it.
func carePart(st *store.Store, stub Installer, platform v1.Platform) (v1.Descriptor, error) {
	memo := st.Memo("care", store.Platform(platform)+" "+digest.FromBytes(stub.data).String())
	var made v1.Descriptor
	if memo.Read(&made) {
		if _, err := st.Walk(made); err == nil {
			return made, nil
		}
	}
	layer, diffID, err := careLayer(stub.data)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("make the care image: %w", err)
	}
	layerDigest, err := st.PutBytes(layer)
	if err != nil {
		return v1.Descriptor{}, err
	}
	epoch := time.Unix(0, 0).UTC()
	config, err := st.PutJSON(v1.MediaTypeImageConfig, v1.Image{
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
	made, err = st.PutJSON(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    config,
		Layers:    []v1.Descriptor{{MediaType: v1.MediaTypeImageLayerGzip, Digest: layerDigest, Size: int64(len(layer))}},
	})
	if err == nil {
		memo.Write(made)
	}
	return made, err
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
