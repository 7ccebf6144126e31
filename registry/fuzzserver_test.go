package registry

import (
	"context"
	"testing"
)

func FuzzRequestPath(f *testing.F) {
	f.Add("/v2/a/b/manifests/latest", "docker.io")
	f.Add("/v2/blobs/manifests/tags/list", "localhost:5000")
	src := mapSource{}
	c, err := BuildCatalog(context.Background(), []Ref{{"quay.io/a/b:1", src.image("x").Digest}}, src)
	if err != nil {
		f.Fatal(err)
	}
	d, err := newPlaceDriver(c, src)
	if err != nil {
		f.Fatal(err)
	}
	v := resolver{index: newPlaceIndex(d)}
	disk := resolver{index: storeIndex{OpenStore(f.TempDir())}}
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
		if full, _ := disk.resolve(name, ns); full != "" {
			t.Errorf("%q resolves to %q in an empty store", name, full)
		}
	})
}

func FuzzParseHtpasswd(f *testing.F) {
	line, err := Htpasswd("admin", "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseHtpasswd(data) })
}
