package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// temporaryPrefix begins the name of every temporary store's directory.
const temporaryPrefix = ".sealbuild-store-"

// Temporary makes a store in a new directory below dir. It sees everything that s holds, and keeps what it gets itself only until
// Release or Close: together with a bundle that is written beside it, it takes the disk once. s must stay open. What killed runs
// left in dir is removed.
func (s *Store) Temporary(dir string) (*Store, error) {
	if err := sweepTemporary(dir); err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(dir, temporaryPrefix)
	if err != nil {
		return nil, fmt.Errorf("make temporary image store: %w", err)
	}
	t, err := Open(root)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(root))
	}
	t.base = s
	return t, nil
}

// Keeps tells whether what comes is there for the next build.
func (s *Store) Keeps() bool { return s.base == nil }

// sweepTemporary removes temporary stores whose process is gone.
func sweepTemporary(dir string) error {
	entries, _ := os.ReadDir(dir) // what cannot be listed is not swept
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), temporaryPrefix) {
			continue
		}
		root := filepath.Join(dir, e.Name())
		lock, err := os.Open(filepath.Join(root, "lock"))
		if err != nil {
			continue // one that is being made, or nothing of ours
		}
		if flock(lock, unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = removeTree(root)
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Release gives up a blob that is not needed any more. Only a temporary store
// does so; in every other one it stays for the next build.
func (s *Store) Release(d digest.Digest) error {
	if s.base == nil {
		return nil
	}
	s.known.Delete(d)
	return s.unlink(d)
}
