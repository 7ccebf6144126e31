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

	"github.com/sealbuild/sealbuild/ground/durable"
)

// boot names the time since this machine was started: files written within it are as they were written. Where the kernel does not
// tell, every process has a name of its own, and its blobs are hashed again by the next.
func boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if name := strings.TrimSpace(string(id)); err == nil && len(name) == 36 && filepath.IsLocal(name) {
		return name
	}
	return fmt.Sprintf("unknown-%d-%d", os.Getpid(), time.Now().UnixNano())
}

// settled is how old a fresh blob is when the kernel has written it to the disk
// long since, without being asked: waiting for that costs nothing then.
const settled = 2 * time.Minute

// Defer says that what comes need not be on the disk when Save and Close return: there is a bundle that holds all of it. A power
// cut in the next half minute may then take blobs of images that were saved. That is noticed, and what is missing is fetched again.
func (s *Store) Defer() { s.deferred = true }

// durable tells whether Save and Close have to wait for the disk.
func (s *Store) durable() bool { return s.base == nil && !s.deferred }

// markPath is the mark of a blob that came since this boot.
func (s *Store) markPath(d digest.Digest) string { return filepath.Join(s.fresh, d.Encoded()) }

// mark says that a blob which is about to get its name may not be on the disk.
func (s *Store) mark(d digest.Digest) error {
	f, err := os.OpenFile(s.markPath(d), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// renameNew renames a file unless there is one of the new name, whose content is the same: a synced blob must not be replaced by
// one that may not be on the disk.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.EEXIST):
		return os.Remove(from)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS): // not every filesystem can
		return os.Rename(from, to)
	case err != nil:
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// Sync waits until every blob is on the disk. Of a temporary store nothing has to be.
func (s *Store) Sync() error {
	if s.base != nil {
		return nil
	}
	return s.sync(0)
}

// sync waits for the blobs that were marked so long ago, and unmarks them.
func (s *Store) sync(age time.Duration) error {
	entries, err := os.ReadDir(s.fresh)
	if err != nil {
		return fmt.Errorf("list fresh blobs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) >= age {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil
	}
	dir := filepath.Join(s.root, "blobs", "sha256")
	var g errgroup.Group
	g.SetLimit(8) // the disk orders the requests of several better than those of one
	for _, name := range names {
		g.Go(func() error { return syncFile(filepath.Join(dir, name)) })
	}
	if err := errors.Join(g.Wait(), durable.SyncDir(dir)); err != nil {
		return fmt.Errorf("write blobs to the disk: %w", err)
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(s.fresh, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unmark blob: %w", err)
		}
	}
	return nil
}

// syncFile waits until a file is on the disk. For a file that does not exist there is nothing to wait for.
func syncFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// recover settles what is settled, and looks at what earlier boots marked: blobs that still are what their name says are kept, and
// the others are gone. Nobody else has the store open before it was done once since this boot.
func (s *Store) recover() error {
	guard, err := os.OpenFile(filepath.Join(s.root, "fresh", ".guard"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open image store: %w", err)
	}
	defer func() { _ = guard.Close() }()
	if err := flock(guard, unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock image store: %w", err)
	}
	boots, err := os.ReadDir(filepath.Join(s.root, "fresh"))
	if err != nil {
		return fmt.Errorf("list fresh blobs: %w", err)
	}
	for _, b := range boots {
		dir := filepath.Join(s.root, "fresh", b.Name())
		if dir == s.fresh || !b.IsDir() {
			continue
		}
		if err := s.lookAgain(dir); err != nil {
			return fmt.Errorf("look at blobs that were written before the machine was started: %w", err)
		}
	}
	return s.sync(settled)
}

// lookAgain hashes the blobs that dir marks.
func (s *Store) lookAgain(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, e := range entries {
		g.Go(func() error {
			path := filepath.Join(s.root, "blobs", "sha256", e.Name())
			good, err := isBlob(path, e.Name())
			if err == nil && !good {
				err = os.Remove(path)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return os.Remove(filepath.Join(dir, e.Name()))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return os.Remove(dir)
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
	if !s.durable() {
		return // the bundle needs the disk more
	}
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
