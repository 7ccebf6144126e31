package registry

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func FuzzRequestPath(f *testing.F) {
	f.Add("/v2/a/b/manifests/latest", "docker.io")
	f.Add("/v2/blobs/manifests/tags/list", "localhost:5000")
	src := registrytest.Source{}
	c, err := catalog.Build(context.Background(), []catalog.Ref{{Name: "quay.io/a/b:1", Digest: src.Image("x").Digest}}, src)
	if err != nil {
		f.Fatal(err)
	}
	d, err := newPlaceDriver(c, src)
	if err != nil {
		f.Fatal(err)
	}
	v := resolver{index: newPlaceIndex(d)}
	stored := resolver{index: storeIndex{disk.Open(f.TempDir())}}
	f.Fuzz(func(t *testing.T, path, ns string) {
		name, rest, ok := route(path)
		if !ok {
			return
		}
		if "/v2/"+name+rest != path {
			t.Errorf("%q is not %q and %q", path, name, rest)
		}
		if full, _ := v.resolve(name, ns); full != "" && full != "quay.io/a/b" {
			t.Errorf("%q resolves to %q", name, full)
		}
		if full, _ := stored.resolve(name, ns); full != "" {
			t.Errorf("%q resolves to %q in an empty store", name, full)
		}
	})
}

func FuzzParseHtpasswd(f *testing.F) {
	line, err := Accounts(Account{User: "admin", Password: "x"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseHtpasswd(data) })
}

func TestSeedCorporaAreThere(t *testing.T) {
	for _, target := range []string{"FuzzRequestPath", "FuzzParseHtpasswd"} {
		seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", target))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds: %v", target, err)
		}
	}
}
