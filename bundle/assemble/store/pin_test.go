package store_test

import (
	"testing"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
)

func TestSizesCountTheMeantPlatformsOnly(t *testing.T) {
	st := storetest.New(t)
	index := storetest.AddSparseIndex(t, st) // two platforms are in the store
	p, err := store.Pin(st, store.Found{Ref: "example.com/app:v1"}, index, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	total, err := st.UniqueSize([]store.Pinned{p})
	if err != nil {
		t.Fatal(err)
	}
	if total != p.Size {
		t.Errorf("unique size is %d, want %d", total, p.Size)
	}
}
