package catalog_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func FuzzParseManifest(f *testing.F) {
	src := registrytest.Source{}
	f.Add(src[src.Image("x", []byte("l")).Digest])
	f.Add(src[src.Index(src.Image("y")).Digest])
	f.Fuzz(func(t *testing.T, data []byte) {
		m := registrytest.Source{}
		_, _ = catalog.Build(context.Background(), []catalog.Ref{{Name: "x", Digest: m.Add(data)}}, m)
	})
}

func TestSeedCorporaAreThere(t *testing.T) {
	for _, target := range []string{"FuzzParseManifest"} {
		seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", target))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds: %v", target, err)
		}
	}
}
