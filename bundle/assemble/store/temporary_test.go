package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

func TestTemporaryStoreSeesTheOtherAndLeavesNothing(t *testing.T) {
	base, dir := open(t, t.TempDir()), t.TempDir()
	old := addImage(t, base, "old")
	if err := base.Save(Record{Name: "old:v1", Manifest: old}); err != nil {
		t.Fatal(err)
	}
	s, err := base.Temporary(dir)
	if err != nil {
		t.Fatal(err)
	}
	mine := addImage(t, s, "mine")
	if err := s.Save(Record{Name: "mine:v1", Manifest: mine}); err != nil {
		t.Fatal(err)
	}
	for _, d := range []digest.Digest{old.Digest, mine.Digest} {
		if _, err := s.ReadBlob(d, ocigraph.MaxManifest); err != nil {
			t.Error(err)
		}
	}
	var names []string
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"mine:v1", "old:v1"}, names); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	for _, name := range names {
		if _, err := s.Load(name); err != nil {
			t.Error(err)
		}
	}
	for _, d := range []digest.Digest{old.Digest, mine.Digest} {
		if err := s.Release(d); err != nil {
			t.Error(err)
		}
	}
	if _, ok := s.Has(mine.Digest); ok {
		t.Error("a released blob is still there")
	}
	if _, ok := base.Has(old.Digest); !ok {
		t.Error("a blob of the other store was deleted")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if _, err := base.Load("mine:v1"); !errors.Is(err, ErrUnknownImage) {
		t.Errorf("the other store was written to: %v", err)
	}
}

func TestTemporaryStoresOfKilledRunsAreSwept(t *testing.T) {
	base, dir := open(t, t.TempDir()), filepath.Join(t.TempDir(), "a [name]")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	living, err := base.Temporary(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	dead, err := base.Temporary(dir)
	if err != nil {
		t.Fatal(err)
	}
	// What the kernel does for a killed process.
	if err := errors.Join(dead.run.lock.Close(), dead.lock.Close()); err != nil {
		t.Fatal(err)
	}
	next, err := base.Temporary(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if _, err := os.Stat(dead.Root()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead run's store is still there: %v", err)
	}
	if _, err := os.Stat(living.Root()); err != nil {
		t.Errorf("the living run's store is gone: %v", err)
	}
}
