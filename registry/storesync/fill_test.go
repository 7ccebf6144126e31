package storesync

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestFillOnOneMachine(t *testing.T) {
	src, c := registrytest.Samples(t)
	store, want := disk.Open(t.TempDir()), disk.Open(t.TempDir())
	mustSync(t, c, src, want, PushOptions{})
	receipt, err := Fill(t.Context(), store, c, src, PushOptions{})
	if err != nil || receipt.BlobsSent != len(c.Blobs()) {
		t.Fatalf("%+v, %v", receipt, err)
	}
	if diff := cmp.Diff(registrytest.Tree(t, want.Root()), registrytest.Tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.1000s", diff)
	}
	if receipt, err = Fill(t.Context(), store, c, src, PushOptions{}); err != nil || receipt.BlobsSent != 0 {
		t.Errorf("again: %+v, %v", receipt, err)
	}
	if receipt, err = Fill(t.Context(), store, c, src, PushOptions{DryRun: true, All: true}); err != nil || receipt.BlobsMissing != len(c.Blobs()) {
		t.Errorf("dry run: %+v, %v", receipt, err)
	}
	damaged := registrytest.Source{}
	for d, data := range src {
		damaged[d] = append([]byte("x"), data...)[:len(data)]
	}
	if _, err := Fill(t.Context(), disk.Open(t.TempDir()), c, damaged, PushOptions{}); err == nil {
		t.Error("a source with other content filled a store")
	}
}
