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

// AsideSuffix is appended to the name of a damaged blob's file. The file is kept to show what the disk did, and removed when the
// blob is back.
const AsideSuffix = ".damaged"

// FileID identifies a file and its state: it differs once another file has the name, or the file was written to.
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

// SetAside renames the file of a damaged blob, so that it is not served. Nothing is renamed while a session is under way, since it
// may put the right file there; the next reader of the blob tries again.
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
