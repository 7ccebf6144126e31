package registry

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestHealFromAnotherRegistry(t *testing.T) {
	src, c := registrytest.Samples(t)
	store := disk.Open(t.TempDir())
	mustFill(t, c, src, store)
	want := registrytest.Tree(t, store.Root())
	other, _, _ := serveSamples(t, HandlerOptions{Root: t.TempDir()})
	for _, r := range c.Repositories[:2] {
		if err := os.WriteFile(store.Path(disk.BlobData(r.Layers[0].Digest)), []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(store.Path(disk.BlobData(r.Manifests[0].Digest))); err != nil {
			t.Fatal(err)
		}
	}
	// One that answers everything with something else is no help, and does no harm.
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	defer liar.Close()
	sources := []catalog.Source{
		NewRemote(t.Context(), store, "http://127.0.0.1:1", http.DefaultClient), // nobody is there
		NewRemote(t.Context(), store, liar.URL, http.DefaultClient),
		NewRemote(t.Context(), store, other.URL+"/", http.DefaultClient),
	}
	found, err := store.Heal(t.Context(), sources, nil)
	if err != nil || len(found) != 4 {
		t.Fatalf("%+v, %v", found, err)
	}
	for _, d := range found {
		if !d.Repaired || d.Err != nil {
			t.Errorf("%+v", d)
		}
	}
	if diff := cmp.Diff(want, registrytest.Tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.1000s", diff)
	}
}
