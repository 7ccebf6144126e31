// Package durable is the one way in which a file is replaced: a reader, and whoever starts the machine again after a power
// cut, finds what was there before or all of what is there now, never a part and never nothing.
//
// It promises that of file systems which keep the order of fsync and rename, as ext4, xfs and btrfs do. What must not hold:
// a path that is a symbolic link (the link is replaced), and one that something is mounted on (no rename can replace it).
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Write replaces the file at path, or makes it, with exactly this mode. Its directory must be there. After an error the old
// file is as it was, unless only the last step failed: then it is replaced, and a power cut may bring the old one back.
func Write(path string, data []byte, mode fs.FileMode) error {
	return write(osDisk(), path, data, mode)
}

// WriteCache is [Write] of a file that may be lost, and whose reader finds out when it comes back empty: it is replaced in
// one step, and the disk is not waited for.
func WriteCache(path string, data []byte, mode fs.FileMode) error {
	d := osDisk()
	d.sync, d.syncDir = func(*os.File) error { return nil }, func(string) error { return nil }
	return write(d, path, data, mode)
}

func write(d disk, path string, data []byte, mode fs.FileMode) error {
	f, err := create(d, path, ".new-")
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Commit(mode)
}

// File is what a file becomes when it is committed. Until then it lies beside its path under another name, with mode 0600. It is
// for content that is streamed, and for files with an owner or attributes; for bytes in memory call [Write].
type File struct {
	*os.File
	// Staged, if not nil, is called when all but the new name is on the disk. Its error ends the write, and is returned as it is.
	Staged func() error

	path  string
	disk  disk
	ended bool // it has its path or is gone: nothing is left to remove
}

// disk is what a power cut asks about: the steps whose order matters.
type disk struct {
	sync    func(f *os.File) error
	rename  func(from, to string) error
	syncDir func(dir string) error
}

func osDisk() disk { return disk{(*os.File).Sync, os.Rename, SyncDir} }

// Create begins to replace the file at path. The temporary file's name begins with prefix, the file's own name and a dot.
func Create(path, prefix string) (*File, error) { return create(osDisk(), path, prefix) }

// maxBase is how much of a file's own name its temporary name holds: a name has at most 255 bytes.
const maxBase = 200

func create(d disk, path, prefix string) (*File, error) {
	// The same directory is the same file system: a rename to another one would be a copy.
	dir, base := filepath.Split(path)
	dir = filepath.Clean(dir)
	prefix += base[:min(len(base), maxBase)] + "."
	// What killed processes left of this very file goes first: it may hold a key, and nobody else would remove it.
	Sweep(dir, prefix)
	for {
		temp, err := os.CreateTemp(dir, prefix+"*") // 0600 from its first moment
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
		// The lock ends with the process, so that a temporary file nobody writes any more can be told from one in use. It is
		// held until the file has its name. A file system without locks lets nobody sweep either.
		lockErr := unix.Flock(int(temp.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if _, err := os.Lstat(temp.Name()); err == nil && !errors.Is(lockErr, unix.EWOULDBLOCK) {
			return &File{File: temp, path: path, disk: d}, nil
		}
		temp.Close() // swept by another process before it was locked
	}
}

// Commit gives the file its mode and its path, durably. After an error it is discarded.
func (f *File) Commit(mode fs.FileMode) error {
	defer f.Discard()
	// The mode goes on before the name, so that nobody sees the file with another, and after a change of owner, which takes
	// set-uid bits away.
	if err := f.Chmod(mode); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	// The content goes to the disk before the name: else a power cut can keep the rename and lose the bytes, which leaves an
	// empty file. This is also where a full or broken disk says so, as writes go to memory only.
	if err := f.disk.sync(f.File); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	if f.Staged != nil {
		if err := f.Staged(); err != nil {
			return err
		}
	}
	// The one step that others see. The file stays open, and so locked, until it is done.
	if err := f.disk.rename(f.Name(), f.path); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	f.ended = true
	// The rename is an entry of the directory, and is on the disk when that is.
	if err := f.disk.syncDir(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

// Discard gives the file up unless it was committed. It may be deferred: after Commit it does nothing.
func (f *File) Discard() {
	if !f.ended {
		f.ended = true
		_ = os.Remove(f.Name()) // before the lock goes; a file that stays is swept by the next writer of the path
	}
	_ = f.Close() // everything was synced, or is not wanted
}

// Sweep removes temporary files in a directory whose names begin so and that no living process writes.
func Sweep(dir, prefix string) {
	entries, _ := os.ReadDir(dir) // what cannot be listed is not swept
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if old, err := os.Open(filepath.Join(dir, e.Name())); err == nil {
			if unix.Flock(int(old.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
				os.Remove(old.Name())
			}
			old.Close()
		}
	}
}

// Rename gives a file, a link or a directory another name in its directory, durably. Its content must be on the disk already.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// SyncDir makes what was made, renamed and removed in a directory survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
