package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// asideSuffix is what the file of a damaged blob has behind its name: it is kept for whoever wants to know what the disk did, and
// goes when the blob is back.
const asideSuffix = ".damaged"

// fileID tells a file from another that has its name later, and from itself after a write.
type fileID struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

func identify(f *os.File) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileID{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return fileID{uint64(st.Dev), st.Ino, st.Size, st.Ctim}, nil
}

// setAside takes a file its name that does not have the digest of its blob. Nobody does that while a session may put the right
// one there; the file stays then, and whoever reads it next comes here again.
func (s *Store) setAside(d digest.Digest, file fileID) error {
	lock, err := s.lock(context.Background(), true) // it does not wait
	if errors.Is(err, ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	path := s.path(blobData(d))
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if now, err := identify(f); err != nil || now != file {
		return err // another by now
	}
	return os.Rename(path, path+asideSuffix)
}

// putInPlace gives a verified and durable file of a blob its name, and removes what was set aside before.
func (s *Store) putInPlace(temporary string, d digest.Digest) error {
	path := s.path(blobData(d))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make blob directory: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("name blob: %w", err)
	}
	_ = os.Remove(path + asideSuffix) // as a rule there is none
	return nil
}

// sweepAside removes every file that was set aside.
func (s *Store) sweepAside() error {
	files, err := filepath.Glob(s.path(layoutBlobs + "/sha256/*/*/data" + asideSuffix))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("remove damaged blob: %w", err)
		}
		_ = os.Remove(filepath.Dir(f)) // if the blob is not there
	}
	return nil
}
