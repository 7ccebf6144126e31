package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Heal hashes a blob again, and removes it when it is not what its digest says
// any more. It tells whether it was removed: the next build fetches it.
func (s *Store) Heal(d digest.Digest) (removed bool, err error) {
	f, err := s.OpenBlob(d)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	good, err := isBlob(f.Name(), d.Encoded())
	if err != nil {
		return false, fmt.Errorf("read blob %s: %w", d, err)
	}
	if good {
		return false, nil
	}
	for at := s; at != nil; at = at.base {
		at.known.Delete(d)
		at.hashed.Delete(d)
		if err := at.unlink(d); err != nil {
			return false, err
		}
	}
	return true, nil
}

// LinkBlob gives a blob one more name, outside the store: as a hard link, or as a copy where the name lies on another filesystem.
// The file must not be written to.
func (s *Store) LinkBlob(d digest.Digest, path string) error {
	f, err := s.OpenBlob(d)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	err = os.Link(f.Name(), path)
	if errors.Is(err, unix.EXDEV) {
		err = copyFile(f, path)
	}
	if err != nil {
		return fmt.Errorf("link blob %s: %w", d, err)
	}
	return nil
}

func copyFile(from *os.File, path string) error {
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
