package assemble

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
)

func TestDamagedStoreIsNotBundledAndHealed(t *testing.T) {
	b, _ := newBuilder(t)
	record(t, b.Store, "app:v1", "application")
	layer := digest.FromString("app:v1")
	path := filepath.Join(b.Store.Root(), "blobs", "sha256", layer.Encoded())
	if err := os.WriteFile(path, []byte("App:v1"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)})
	_, err := b.Bundle(t.Context(), BundleRequest{Images: []string{"app:v1"}, Output: filepath.Join(dir, "out"), Stub: filepath.Join(dir, "stub")})
	if err == nil || !strings.Contains(err.Error(), "build again") {
		t.Errorf("error is %v, want one that says what to do", err)
	}
	fresh, err := store.Open(b.Store.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if _, ok := fresh.Has(layer); ok {
		t.Error("the damaged blob is still in the store")
	}
}

// A large layer is still hashed while the next is written: whose fault it was must not be lost on the way.
func TestDamagedLargeLayerIsTheOneThatIsHealed(t *testing.T) {
	b, _ := newBuilder(t)
	put := func(mediaType string, data []byte) v1.Descriptor {
		d, err := b.Store.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	m.Config = put(v1.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux"}`))
	for i := range 3 {
		m.Layers = append(m.Layers, put(v1.MediaTypeImageLayerGzip, bytes.Repeat([]byte{byte(i)}, 3<<20)))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Store.Save(store.Record{Name: "large:v1", Manifest: put(m.MediaType, raw), Platform: "linux/amd64", ClusterType: "application"}); err != nil {
		t.Fatal(err)
	}
	bad := m.Layers[0].Digest
	path := filepath.Join(b.Store.Root(), "blobs", "sha256", bad.Encoded())
	if err := os.WriteFile(path, bytes.Repeat([]byte{9}, 3<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	// Another process: this one knows what it hashed.
	if b.Store, err = store.Open(b.Store.Root()); err != nil {
		t.Fatal(err)
	}
	defer b.Store.Close()
	dir := storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)})
	_, err = b.Bundle(t.Context(), BundleRequest{Images: []string{"large:v1"}, Output: filepath.Join(dir, "out"), Stub: filepath.Join(dir, "stub")})
	if err == nil || !strings.Contains(err.Error(), bad.String()) || !strings.Contains(err.Error(), "build again") {
		t.Errorf("error is %v, want one that names %s and says what to do", err, bad)
	}
	for i, l := range m.Layers {
		if _, err := os.Stat(filepath.Join(b.Store.Root(), "blobs", "sha256", l.Digest.Encoded())); os.IsNotExist(err) != (i == 0) {
			t.Errorf("layer %d: %v", i, err)
		}
	}
}
