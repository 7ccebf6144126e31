package registry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// maxPartials is how many interrupted blobs are gone on with; each is an open file.
const maxPartials = 256

// incoming is a blob on its way into the store.
type incoming struct {
	index int
	path  string // of the temporary file
	file  *os.File
	size  int64 // bytes in the file when the session found it
}

// partialPath is the one name under which an interrupted blob is found again.
func (s *Store) partialPath(e entry) string {
	return filepath.Join(s.path(partialDirectory), e.key.digest().Encoded())
}

// partialSize returns how much of a blob an interrupted session left. More than the blob has is no partial of it.
func (s *Store) partialSize(e entry) int64 {
	fi, err := os.Lstat(s.partialPath(e))
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > e.size {
		return 0
	}
	return fi.Size()
}

// holdPartials locks what interrupted sessions left of the missing blobs, so that nobody else goes on with it.
func (rc *receiver) holdPartials() {
	rc.partial = map[int]*incoming{}
	if entries, err := os.ReadDir(rc.store.path(partialDirectory)); err != nil || len(entries) == 0 {
		return
	}
	for i, e := range rc.table {
		if len(rc.partial) == maxPartials {
			return
		}
		if !rc.missing[i] || rc.store.partialSize(e) == 0 {
			continue
		}
		path := rc.store.partialPath(e)
		f, err := lockFile(path, os.O_RDWR)
		if err != nil {
			continue // in use or gone: sent from the beginning, into a file of our own
		}
		fi, err := f.Stat()
		if err != nil || fi.Size() > e.size {
			f.Close()
			continue
		}
		rc.partial[i] = &incoming{index: i, path: path, file: f, size: fi.Size()}
	}
}

func (rc *receiver) held(i int) int64 {
	if in := rc.partial[i]; in != nil {
		return in.size
	}
	return 0
}

func (rc *receiver) dropPartials() {
	for _, in := range rc.partial {
		in.file.Close()
	}
}

// create opens the file a blob is written to: the shared partial, or one of this session when another holds that.
func (rc *receiver) create(i int) (*incoming, error) {
	if in := rc.partial[i]; in != nil {
		delete(rc.partial, i)
		return in, nil
	}
	path := rc.store.partialPath(rc.table[i])
	f, err := createLocked(path)
	if errors.Is(err, errLocked) {
		path = rc.session.temp()
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if err != nil {
		return nil, err
	}
	return &incoming{index: i, path: path, file: f}, nil
}

// createLocked makes an empty locked file, and its directory, which another session may be removing.
func createLocked(path string) (*os.File, error) {
	for {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		f, err := lockFile(path, os.O_RDWR|os.O_CREATE)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := f.Truncate(0); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
}
