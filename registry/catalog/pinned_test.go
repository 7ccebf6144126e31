package catalog_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestTagBesideADigestGivesWay(t *testing.T) {
	src := registrytest.Source{}
	now, old := src.Image("now", []byte("a")), src.Image("old", []byte("b"))
	c, err := catalog.Build(t.Context(), []catalog.Ref{
		{Name: "example.com/app:v1@" + old.Digest.String(), Digest: old.Digest},
		{Name: "example.com/app:v1", Digest: now.Digest},
		{Name: "example.com/app:v2@" + old.Digest.String(), Digest: old.Digest},
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
	if _, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "example.com/app:v1", Digest: now.Digest}, {Name: "example.com/app:v1", Digest: old.Digest}}, src); err == nil {
		t.Error("one tag was given two images")
	}
}

func TestWhatLiesBesideAnImageHasItsRepositoryAndNoTag(t *testing.T) {
	d := digest.FromString("referrer")
	for name, want := range map[string]string{
		"nginx": "nginx", "nginx:1.29": "nginx", "localhost:5000/x/y": "localhost:5000/x/y", "localhost:5000/x/y:latest": "localhost:5000/x/y",
		"example.com/app@" + d.String(): "example.com/app", "example.com/app:v1@" + d.String(): "example.com/app",
	} {
		if got := (catalog.Ref{Name: name}).Beside(d); got != (catalog.Ref{Name: want + "@" + d.String(), Digest: d}) {
			t.Errorf("beside %s lies %v, want %s", name, got, want)
		}
	}
}
