package disk

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

// AsideSuffix is what the file of a damaged blob has behind its name: it is kept for whoever wants to know what the disk did, and
// goes when the blob is back.
const AsideSuffix = ".damaged"

// FileID tells a file from another that has its name later, and from itself after a write.
type FileID struct {
	device, inode uint64
	Size          int64
	changed       unix.Timespec
}

// Identify returns the identity of an open file.
func Identify(f *os.File) (FileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return FileID{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return FileID{uint64(st.Dev), st.Ino, st.Size, st.Ctim}, nil
}

// SetAside takes a file its name that does not have the digest of its blob. Nobody does that while a session may put the right
// one there; the file stays then, and whoever reads it next comes here again.
func (s *Store) SetAside(d digest.Digest, file FileID) error {
	lock, err := s.Lock(context.Background(), true) // it does not wait
	if errors.Is(err, ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	path := s.Path(BlobData(d))
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if now, err := Identify(f); err != nil || now != file {
		return err // another by now
	}
	return os.Rename(path, path+AsideSuffix)
}

// PutInPlace gives a verified and durable file of a blob its name, and removes what was set aside before.
func (s *Store) PutInPlace(temporary string, d digest.Digest) error {
	path := s.Path(BlobData(d))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make blob directory: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("name blob: %w", err)
	}
	_ = os.Remove(path + AsideSuffix) // as a rule there is none
	return nil
}

// sweepAside removes every file that was set aside.
func (s *Store) sweepAside() error {
	files, err := filepath.Glob(s.Path(layoutBlobs + "/sha256/*/*/data" + AsideSuffix))
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
