package payload

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestReferrersOfAnImageLieInItsRepositoryWithoutATag(t *testing.T) {
	src := registrytest.Source{}
	image := src.Image("app", []byte("layer"))
	manifest, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: "application/spdx+json",
		Config: src.Descriptor(v1.MediaTypeEmptyJSON, []byte("{}")), Layers: []v1.Descriptor{src.Descriptor("application/spdx+json", []byte("{ }"))},
		Subject: &image,
	})
	if err != nil {
		t.Fatal(err)
	}
	referrer := src.Descriptor(v1.MediaTypeImageManifest, manifest)
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, bundle.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for d, content := range src {
		if err := w.AddBlob(t.Context(), d, int64(len(content)), true, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AddImage(bundle.Image{
		Name: "quay.io/team/app:1", Digest: image.Digest, MediaType: image.MediaType, ManifestSize: image.Size,
		Platforms: []string{"linux/amd64"}, Kind: bundle.KindImage, Referrers: []v1.Descriptor{referrer},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Catalog(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Repositories) != 1 || c.Repositories[0].Name != "quay.io/team/app" {
		t.Fatalf("repositories are %+v", c.Repositories)
	}
	got := map[digest.Digest]bool{}
	for _, m := range c.Repositories[0].Manifests {
		got[m.Digest] = true
	}
	if diff := cmp.Diff(map[digest.Digest]bool{image.Digest: true, referrer.Digest: true}, got); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]digest.Digest{"1": image.Digest}, c.Repositories[0].Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}
