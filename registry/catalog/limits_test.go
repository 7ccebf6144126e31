package catalog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestManifestsBeyondTheLimitsAreInvalid(t *testing.T) {
	m := registrytest.Source{}
	deep := m.Image("deep")
	for range ocigraph.MaxNesting {
		deep = m.Index(deep)
	}
	large := m.Descriptor(v1.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`+strings.Repeat(" ", ocigraph.MaxManifest)))
	for name, c := range map[string]struct {
		d      v1.Descriptor
		beyond bool
	}{"as deep as may be": {deep, false}, "deeper": {m.Index(deep), true}, "larger": {large, true}} {
		_, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "quay.io/app:1", Digest: c.d.Digest}}, m)
		if limit := new(ocigraph.LimitError); errors.As(err, &limit) != c.beyond || errors.Is(err, catalog.ErrInvalid) != c.beyond || (err != nil) != c.beyond {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChildOfAnIndexThatIsNoManifestIsABlob(t *testing.T) {
	m := registrytest.Source{}
	image, other := m.Image("app"), m.Descriptor("application/vnd.example.note", []byte("note"))
	absent := m.Image("absent")
	index := m.Index(other, image, absent)
	delete(m, absent.Digest)
	c, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "quay.io/app:1", Digest: index.Digest}}, m)
	if err != nil {
		t.Fatal(err)
	}
	var config v1.Descriptor
	if read, err := ocigraph.Parse(image.Digest, m[image.Digest]); err == nil {
		config = *read.Config
	}
	blob := func(d v1.Descriptor) catalog.Blob { return catalog.Blob{Digest: d.Digest, Size: d.Size} }
	if diff := cmp.Diff([]catalog.Blob{blob(other), blob(config)}, c.Repositories[0].Layers); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]catalog.Blob{blob(image), blob(index)}, c.Repositories[0].Manifests); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
}
