package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// partialMaxAge is how long a partial blob nobody asks for is kept.
const partialMaxAge = 7 * 24 * time.Hour

// session is a directory of one receiver's own temporary files. The lock on it says that the receiver lives; it ends with the
// process, so that what a killed one left can be told from what is in use.
type session struct {
	store *Store
	dir   string
	lock  *os.File
	files int
}

func (s *Store) newSession() (*session, error) {
	own := s.path(ownDirectory)
	for {
		if err := os.MkdirAll(own, 0o755); err != nil {
			return nil, fmt.Errorf("make store: %w", err)
		}
		dir, err := os.MkdirTemp(own, "session-")
		if errors.Is(err, fs.ErrNotExist) {
			continue // another session just removed the empty directory
		}
		if err != nil {
			return nil, fmt.Errorf("make session directory: %w", err)
		}
		lock, err := lockFile(dir, os.O_RDONLY)
		if err == nil {
			return &session{store: s, dir: dir, lock: lock}, nil
		}
		// Somebody who cleans up took the directory between its making and its locking.
		if !errors.Is(err, errLocked) && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("lock session directory: %w", err)
		}
	}
}

// temp names a new file of the session.
func (x *session) temp() string {
	x.files++
	return filepath.Join(x.dir, fmt.Sprintf("%d", x.files))
}

// close removes the session's files, and the directories above it when they are empty.
func (x *session) close() {
	os.RemoveAll(x.dir)
	x.lock.Close()
	os.Remove(x.store.path(partialDirectory))
	os.Remove(x.store.path(ownDirectory))
}

// sweepSessions removes the directories of sessions that were killed, and says whether there were any.
func (s *Store) sweepSessions() (found bool) {
	entries, _ := os.ReadDir(s.path(ownDirectory))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "session-") {
			continue
		}
		dir := filepath.Join(s.path(ownDirectory), e.Name())
		if lock, err := lockFile(dir, os.O_RDONLY); err == nil {
			os.RemoveAll(dir)
			lock.Close()
			found = true
		}
	}
	return found
}

// sweepPartials removes partial blobs that have been completed elsewhere, and old ones.
func (s *Store) sweepPartials(now time.Time) {
	entries, _ := os.ReadDir(s.path(partialDirectory))
	for _, e := range entries {
		_, done := s.Stat(digest.NewDigestFromEncoded(digest.SHA256, e.Name()))
		fi, err := e.Info()
		if err != nil || (!done && now.Sub(fi.ModTime()) < partialMaxAge) {
			continue
		}
		path := filepath.Join(s.path(partialDirectory), e.Name())
		if lock, err := lockFile(path, os.O_RDWR); err == nil {
			os.Remove(path)
			lock.Close()
		}
	}
}

// errLocked is returned when another process, or another session of this one, holds the lock.
var errLocked = errors.New("in use by another session")

// lockStore takes the lock that keeps sessions, who share it, and a collection apart. It lies on the root directory itself, since a
// full disk has no room for a file. A session waits for a collection; a collection does not wait.
func lockStore(ctx context.Context, root string, alone bool) (*os.File, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: root, Err: err}
		}
		if alone {
			f.Close()
			return nil, ErrBusy
		}
		if err := wait.For(ctx, 100*time.Millisecond); err != nil { // a collection takes seconds
			f.Close()
			return nil, err
		}
	}
}

// lockFile opens path and takes an exclusive lock on it without waiting. The file that comes back is the one that has the
// name: one that was renamed or removed while the lock was taken is not.
func lockFile(path string, flag int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, flag, 0o644)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errLocked
			}
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		held, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if named, err := os.Stat(path); err == nil && os.SameFile(held, named) {
			return f, nil
		}
		f.Close()
	}
}
