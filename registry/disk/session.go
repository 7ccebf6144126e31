package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// Session is a directory of one receiver's own temporary files. The lock on it says that the receiver lives; it ends with the
// process, so that what a killed one left can be told from what is in use.
type Session struct {
	store *Store
	dir   string
	lock  *os.File
	files int
}

// NewSession makes the directory of a session, and the store if there is none.
func (s *Store) NewSession() (*Session, error) {
	own := s.Path(OwnDirectory)
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
			return &Session{store: s, dir: dir, lock: lock}, nil
		}
		// Somebody who cleans up took the directory between its making and its locking.
		if !errors.Is(err, ErrLocked) && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("lock session directory: %w", err)
		}
	}
}

// Temp returns the path of a new file of the session.
func (x *Session) Temp() string {
	x.files++
	return filepath.Join(x.dir, fmt.Sprintf("%d", x.files))
}

// Create makes a new file of the session, open for reading and writing.
func (x *Session) Create() (*os.File, error) {
	return os.OpenFile(x.Temp(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
}

// Close removes the session's files, and the directories above it when they are empty.
func (x *Session) Close() {
	os.RemoveAll(x.dir)
	x.lock.Close()
	os.Remove(x.store.Path(PartialDirectory))
	os.Remove(x.store.Path(OwnDirectory))
}

// SweepSessions removes the directories of sessions that were killed, and says whether there were any.
func (s *Store) SweepSessions() (found bool) {
	entries, _ := os.ReadDir(s.Path(OwnDirectory))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "session-") {
			continue
		}
		dir := filepath.Join(s.Path(OwnDirectory), e.Name())
		if lock, err := lockFile(dir, os.O_RDONLY); err == nil {
			os.RemoveAll(dir)
			lock.Close()
			found = true
		}
	}
	return found
}

// ErrLocked is returned when another process, or another session of this one, holds the lock.
var ErrLocked = errors.New("in use by another session")

// Lock takes the lock on the store that sessions share, and that a collection has alone. It lies on the root directory itself,
// since a full disk has no room for a file. A session waits for a collection; a collection does not wait for sessions: [ErrBusy].
func (s *Store) Lock(ctx context.Context, alone bool) (io.Closer, error) {
	f, err := os.Open(s.root)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			err = &fs.PathError{Op: "lock", Path: s.root, Err: err}
		case alone:
			err = ErrBusy
		default:
			err = wait.For(ctx, 100*time.Millisecond) // a collection takes seconds
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
}

// lockFile opens path and takes an exclusive lock on it without waiting. The file returned is the one at path: if the file was
// renamed or removed while the lock was taken, path is opened again.
func lockFile(path string, flag int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, flag, 0o644)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrLocked
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
