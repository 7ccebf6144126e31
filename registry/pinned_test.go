package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestTagBesideADigestGivesWay(t *testing.T) {
	src := mapSource{}
	now, old := src.image("now", []byte("a")), src.image("old", []byte("b"))
	c, err := BuildCatalog(t.Context(), []Ref{
		{"example.com/app:v1@" + old.Digest.String(), old.Digest},
		{"example.com/app:v1", now.Digest},
		{"example.com/app:v2@" + old.Digest.String(), old.Digest},
	}, src)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]digest.Digest{"v1": now.Digest, "v2": old.Digest}
	if diff := cmp.Diff(want, c.Repositories[0].Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if n := len(c.Repositories[0].Manifests); n != 2 {
		t.Errorf("%d manifests, want both", n)
	}
	if _, err := BuildCatalog(t.Context(), []Ref{{"example.com/app:v1", now.Digest}, {"example.com/app:v1", old.Digest}}, src); err == nil {
		t.Error("one tag was given two images")
	}
}
