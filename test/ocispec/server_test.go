package ocispec

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
)

func keyOf(pair tls.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// await waits until something listens.
func await(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "tcp", addr); err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nothing listens at %s", addr)
		}
	}
}

// contents are what the suite is told to look for.
type contents struct {
	tags, manifests, blobs []string
	subject                string
}

// writeBundle makes a bundle with an image, an index of it, and a manifest that refers to the image.
func writeBundle(t *testing.T, name string) (c contents) {
	t.Helper()
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := bundle.NewWriter(out, bundle.WriterOptions{Stub: strings.NewReader("#!/bin/false\n"), StubPlatform: "linux/" + runtime.GOARCH, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	add := func(mediaType string, body []byte) v1.Descriptor {
		d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
		if err := w.AddBlob(t.Context(), d.Digest, d.Size, true, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	blob := func(mediaType, body string) v1.Descriptor {
		d := add(mediaType, []byte(body))
		c.blobs = append(c.blobs, d.Digest.String())
		return d
	}
	manifest := func(mediaType, tag string, m any) v1.Descriptor {
		body, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		d := add(mediaType, body)
		image := "example.com/conformance/app@" + d.Digest.String()
		if tag != "" {
			c.tags, image = append(c.tags, tag), "example.com/conformance/app:"+tag
		}
		c.manifests = append(c.manifests, d.Digest.String())
		if err := w.AddImage(bundle.Image{
			Name: image, Digest: d.Digest, MediaType: mediaType, ManifestSize: d.Size, Size: d.Size,
			Platforms: []string{"linux/amd64"}, Kind: bundle.KindImage,
		}); err != nil {
			t.Fatal(err)
		}
		return d
	}
	version := specs.Versioned{SchemaVersion: 2}
	image := manifest(v1.MediaTypeImageManifest, "image", v1.Manifest{
		Versioned: version, MediaType: v1.MediaTypeImageManifest,
		Config: blob(v1.MediaTypeImageConfig, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`),
		Layers: []v1.Descriptor{blob(v1.MediaTypeImageLayer, strings.Repeat("a layer ", 10_000))},
	})
	listed := image
	listed.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
	manifest(v1.MediaTypeImageIndex, "index", v1.Index{Versioned: version, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{listed}})
	manifest(v1.MediaTypeImageManifest, "", v1.Manifest{
		Versioned: version, MediaType: v1.MediaTypeImageManifest, ArtifactType: "application/vnd.example.sbom", Subject: &image,
		Config: blob(v1.MediaTypeEmptyJSON, "{}"), Layers: []v1.Descriptor{blob("text/plain", "an SBOM")},
	})
	c.subject = image.Digest.String()
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}
