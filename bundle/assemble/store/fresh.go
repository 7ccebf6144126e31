package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// boot names the time since this machine was started: files written within it
// are as they were written. Where the kernel does not tell, every process has
// a name of its own, and its blobs are hashed again by the next.
func boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if name := strings.TrimSpace(string(id)); err == nil && len(name) == 36 && filepath.IsLocal(name) {
		return name
	}
	return fmt.Sprintf("unknown-%d-%d", os.Getpid(), time.Now().UnixNano())
}

// Sync waits until every blob is on the disk, and moves them to blobs/. Of a
// temporary store nothing has to be on the disk.
func (s *Store) Sync() error {
	if s.base != nil {
		return nil
	}
	entries, err := os.ReadDir(s.fresh)
	if err != nil {
		return fmt.Errorf("list fresh blobs: %w", err)
	}
	if len(entries) == 0 {
		return nil
	}
	var g errgroup.Group
	g.SetLimit(8) // the disk orders the requests of several better than those of one
	for _, e := range entries {
		g.Go(func() error { return syncFile(filepath.Join(s.fresh, e.Name())) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("write blobs to the disk: %w", err)
	}
	for _, e := range entries {
		err := os.Rename(filepath.Join(s.fresh, e.Name()), filepath.Join(s.root, "blobs", "sha256", e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // another process moved it
			return fmt.Errorf("move blob to its place: %w", err)
		}
	}
	if err := syncDir(filepath.Join(s.root, "blobs", "sha256")); err != nil {
		return fmt.Errorf("write names of blobs to the disk: %w", err)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another process moved it after it had synced it
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// recover takes over what earlier boots left in fresh/: blobs that still are
// what their name says are kept, and the others are gone.
func (s *Store) recover() error {
	boots, err := os.ReadDir(filepath.Join(s.root, "fresh"))
	if err != nil {
		return fmt.Errorf("list fresh blobs: %w", err)
	}
	for _, b := range boots {
		dir := filepath.Join(s.root, "fresh", b.Name())
		if dir == s.fresh {
			continue
		}
		if err := s.takeOver(dir); err != nil {
			return fmt.Errorf("look at blobs that were written before the machine was started: %w", err)
		}
	}
	return nil
}

func (s *Store) takeOver(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another process did it
	}
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, e := range entries {
		g.Go(func() error {
			path := filepath.Join(dir, e.Name())
			good, err := isBlob(path, e.Name())
			switch {
			case err != nil:
			case good:
				err = os.Rename(path, filepath.Join(s.fresh, e.Name()))
			default:
				err = os.Remove(path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isBlob tells whether a file's content hashes to its name.
func isBlob(path, name string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	got, err := digest.SHA256.FromReader(f)
	if err != nil {
		return false, err
	}
	return got.Encoded() == name, nil
}

// flushSoon makes the kernel begin to write a range to the disk; 0 bytes are
// all behind off. Nothing waits for it, and nothing depends on it.
func (s *Store) flushSoon(f *os.File, off, n int64) {
	if s.base != nil {
		return // it will be gone before
	}
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
