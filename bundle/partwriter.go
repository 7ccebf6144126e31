package bundle

import (
	"errors"
	"fmt"
	"os"
)

// MinPartSize is the least size of parts in bytes. Every part then holds a whole unit, by which it is told from a foreign one.
const MinPartSize = 16 << 20

// PartWriter writes a stream into files of PartSize bytes.
type PartWriter struct {
	name  string
	size  int64
	files []*os.File
	left  int64 // bytes that the last file has room for
}

// CreateParts creates the first part as name, which must not exist, and each
// further one, named as PartName does, when it is needed.
func CreateParts(name string, size int64) (*PartWriter, error) {
	if size < MinPartSize {
		return nil, fmt.Errorf("parts of %d bytes: expected at least %d", size, int64(MinPartSize))
	}
	w := &PartWriter{name: name, size: size}
	return w, w.next()
}

func (w *PartWriter) next() error {
	if len(w.files) == MaxParts {
		return fmt.Errorf("more than %d parts of %d bytes: make them larger", MaxParts, w.size)
	}
	f, err := os.OpenFile(PartName(w.name, len(w.files)+1), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	w.files = append(w.files, f)
	w.left = w.size
	return nil
}

func (w *PartWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if w.left == 0 {
			if err := w.next(); err != nil {
				return done, err
			}
		}
		n, err := w.files[len(w.files)-1].Write(p[done:min(int64(len(p)), int64(done)+w.left)])
		done += n
		w.left -= int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Files are the parts so far, in order.
func (w *PartWriter) Files() []*os.File { return w.files }

// Close closes the files; it does not sync them.
func (w *PartWriter) Close() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
