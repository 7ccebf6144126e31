package assemble

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

func TestDamagedStoreIsNotBundledAndHealed(t *testing.T) {
	b, _ := newBuilder(t)
	record(t, b.Store, "app:v1", "application")
	layer := digest.FromString("app:v1")
	path := filepath.Join(b.Store.Root(), "blobs", "sha256", layer.Encoded())
	if err := os.WriteFile(path, []byte("App:v1"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string][]byte{"stub": executable(elf.EM_X86_64)})
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
