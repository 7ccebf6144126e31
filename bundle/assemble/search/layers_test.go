package search

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
)

// FuzzLayer reads layers of images that anybody made: whatever is in them,
// nothing is written outside the directory.
func FuzzLayer(f *testing.F) {
	f.Add(storetest.Layer(f, map[string][]byte{"images/shim/list": []byte("a:1\n"), RegistryTree + "repositories/a/_manifests/tags/1/current/link": []byte("sha256:x")}))
	f.Add(storetest.Layer(f, map[string][]byte{"../../out": []byte("x"), "a/.wh..wh..opq": nil, "a/.wh.b": nil, ".wh.registry": nil}))
	var links bytes.Buffer
	w := tar.NewWriter(&links)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeSymlink, Name: "up", Linkname: "../.."},
		{Typeflag: tar.TypeReg, Name: "up/out"},
		{Typeflag: tar.TypeLink, Name: "passwd", Linkname: "/etc/passwd"},
		{Typeflag: tar.TypeDir, Name: "up"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(links.Bytes())
	s, err := store.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, layer []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		x := newExtraction(t.Context(), s, root)
		_ = x.read(bytes.NewReader(layer), int64(len(layer)))
		entries, err := os.ReadDir(outer)
		if err != nil || len(entries) != 1 {
			t.Errorf("beside the directory: %v %v", entries, err)
		}
	})
}
