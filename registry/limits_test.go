package registry

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

func TestManifestsBeyondTheLimitsAreInvalid(t *testing.T) {
	m := mapSource{}
	deep := m.image("deep")
	for range ocigraph.MaxNesting {
		deep = m.index(deep)
	}
	large := m.descriptor(v1.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`+strings.Repeat(" ", ocigraph.MaxManifest)))
	for name, c := range map[string]struct {
		d      v1.Descriptor
		beyond bool
	}{"as deep as may be": {deep, false}, "deeper": {m.index(deep), true}, "larger": {large, true}} {
		_, err := BuildCatalog(t.Context(), []Ref{{"quay.io/app:1", c.d.Digest}}, m)
		if limit := new(ocigraph.LimitError); errors.As(err, &limit) != c.beyond || errors.Is(err, ErrInvalid) != c.beyond || (err != nil) != c.beyond {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChildOfAnIndexThatIsNoManifestIsABlob(t *testing.T) {
	m := mapSource{}
	image, other := m.image("app"), m.descriptor("application/vnd.example.note", []byte("note"))
	absent := m.image("absent")
	index := m.index(other, image, absent)
	delete(m, absent.Digest)
	c, err := BuildCatalog(t.Context(), []Ref{{"quay.io/app:1", index.Digest}}, m)
	if err != nil {
		t.Fatal(err)
	}
	var config v1.Descriptor
	if read, err := ocigraph.Parse(image.Digest, m[image.Digest]); err == nil {
		config = *read.Config
	}
	blob := func(d v1.Descriptor) Blob { return Blob{Digest: d.Digest, Size: d.Size} }
	if diff := cmp.Diff([]Blob{blob(other), blob(config)}, c.Repositories[0].Layers); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Blob{blob(image), blob(index)}, c.Repositories[0].Manifests); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
}
