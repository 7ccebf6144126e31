package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestDamagedBlobIsRemoved(t *testing.T) {
	s := open(t, t.TempDir())
	d, err := s.PutBytes([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := s.Heal(d); removed || err != nil {
		t.Errorf("a good blob: removed %v, %v", removed, err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, s.blobPath(d), "cOntent")
	if removed, err := s.Heal(d); !removed || err != nil {
		t.Errorf("a damaged blob: removed %v, %v", removed, err)
	}
	if _, ok := s.Has(d); ok {
		t.Error("the damaged blob is still there")
	}
}

func TestLinkedBlob(t *testing.T) {
	s := open(t, t.TempDir())
	d, err := s.PutBytes([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Root(), "link")
	if err := s.LinkBlob(d, path); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "content" {
		t.Errorf("link holds %q: %v", data, err)
	}
	if err := s.LinkBlob(d, path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error is %v, want fs.ErrExist", err)
	}
}
