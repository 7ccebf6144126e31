package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// partialMaxAge is how long a partial blob nobody asks for is kept.
const partialMaxAge = 7 * 24 * time.Hour

// partialPath is the one name under which an interrupted blob is found again.
func (s *Store) partialPath(d digest.Digest) string {
	return filepath.Join(s.Path(PartialDirectory), d.Encoded())
}

// PartialSize returns how many bytes of a blob an interrupted session left. More than the blob has is no partial of it.
func (s *Store) PartialSize(b catalog.Blob) int64 {
	fi, err := os.Lstat(s.partialPath(b.Digest))
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > b.Size {
		return 0
	}
	return fi.Size()
}

// HasPartials tells whether interrupted sessions left anything.
func (s *Store) HasPartials() bool {
	entries, err := os.ReadDir(s.Path(PartialDirectory))
	return err == nil && len(entries) > 0
}

// HoldPartial opens and locks what an interrupted session left of a blob, so that nobody else goes on with it, and returns its
// size in bytes. The file is nil if there is none, or another session holds it.
func (s *Store) HoldPartial(b catalog.Blob) (f *os.File, size int64) {
	if s.PartialSize(b) == 0 {
		return nil, 0
	}
	f, err := lockFile(s.partialPath(b.Digest), os.O_RDWR)
	if err != nil {
		return nil, 0
	}
	fi, err := f.Stat()
	if err != nil || fi.Size() > b.Size {
		f.Close()
		return nil, 0
	}
	return f, fi.Size()
}

// CreatePartial makes the empty, locked file of a partial blob, and its directory, which another session may be removing. If
// another session holds it the error is ErrLocked.
func (s *Store) CreatePartial(d digest.Digest) (*os.File, error) {
	path := s.partialPath(d)
	for {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		f, err := lockFile(path, os.O_RDWR|os.O_CREATE)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := f.Truncate(0); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
}

// SweepPartials removes partial blobs that have been completed elsewhere, and old ones.
func (s *Store) SweepPartials(now time.Time) {
	entries, _ := os.ReadDir(s.Path(PartialDirectory))
	for _, e := range entries {
		_, done := s.Stat(digest.NewDigestFromEncoded(digest.SHA256, e.Name()))
		fi, err := e.Info()
		if err != nil || (!done && now.Sub(fi.ModTime()) < partialMaxAge) {
			continue
		}
		path := filepath.Join(s.Path(PartialDirectory), e.Name())
		if lock, err := lockFile(path, os.O_RDWR); err == nil {
			os.Remove(path)
			lock.Close()
		}
	}
}
