package registry

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFillOnOneMachine(t *testing.T) {
	src, c := samples(t)
	store, want := OpenStore(t.TempDir()), OpenStore(t.TempDir())
	mustSync(t, c, src, want, PushOptions{})
	receipt, err := store.Fill(t.Context(), c, src, PushOptions{})
	if err != nil || receipt.BlobsSent != len(c.Blobs()) {
		t.Fatalf("%+v, %v", receipt, err)
	}
	if diff := cmp.Diff(tree(t, want.Root()), tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.1000s", diff)
	}
	if receipt, err = store.Fill(t.Context(), c, src, PushOptions{}); err != nil || receipt.BlobsSent != 0 {
		t.Errorf("again: %+v, %v", receipt, err)
	}
	if receipt, err = store.Fill(t.Context(), c, src, PushOptions{DryRun: true, All: true}); err != nil || receipt.BlobsMissing != len(c.Blobs()) {
		t.Errorf("dry run: %+v, %v", receipt, err)
	}
	damaged := mapSource{}
	for d, data := range src {
		damaged[d] = append([]byte("x"), data...)[:len(data)]
	}
	if _, err := OpenStore(t.TempDir()).Fill(t.Context(), c, damaged, PushOptions{}); err == nil {
		t.Error("a source with other content filled a store")
	}
}

func TestHealFromAnotherRegistry(t *testing.T) {
	src, c := samples(t)
	store := OpenStore(t.TempDir())
	mustSync(t, c, src, store, PushOptions{})
	want := tree(t, store.Root())
	other, _, _ := serveSamples(t, HandlerOptions{Root: t.TempDir()})
	for _, r := range c.Repositories[:2] {
		if err := os.WriteFile(store.path(blobData(r.Layers[0].Digest)), []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(store.path(blobData(r.Manifests[0].Digest))); err != nil {
			t.Fatal(err)
		}
	}
	// One that answers everything with something else is no help, and does no harm.
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	defer liar.Close()
	sources := []Source{
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
	if diff := cmp.Diff(want, tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.1000s", diff)
	}
}
