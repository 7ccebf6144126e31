package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxParts is how many files a bundle can spread over.
const MaxParts = 999

// PartName is the name of part n, counted from 1: the first has the name of the bundle, the others .002, .003 and so on behind it.
func PartName(name string, n int) string {
	if n == 1 {
		return name
	}
	return fmt.Sprintf("%s.%03d", name, n)
}

// PartError says which file of a bundle in parts is not what it must be.
type PartError struct {
	Name string // of the file
	Err  error
}

func (e *PartError) Error() string { return fmt.Sprintf("%s: %v", e.Name, e.Err) }
func (e *PartError) Unwrap() error { return e.Err }

// ErrMissingPart is in a PartError for a file that is not there.
var ErrMissingPart = errors.New("this part of the bundle is missing: put all parts beside each other")

// File is a Reader over the files that it owns: one, or several parts.
type File struct {
	*Reader
	files partFiles
}

// OpenFile opens the bundle at path, which may be the running program itself. When it is the first of several parts, the others are
// read where they lie, beside it; one that is missing, cut, foreign or swapped is a *PartError.
func OpenFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	files := partFiles{{f: f, name: path}}
	r, err := files.open()
	if err != nil {
		files.Close()
		return nil, err
	}
	return &File{r, files}, nil
}

// Close closes the files. Readers of blobs fail from then on.
func (f *File) Close() error { return f.files.Close() }

// Parts lists the files in order.
func (f *File) Parts() []string {
	names := make([]string, len(f.files))
	for i := range f.files {
		names[i] = f.files[i].name
	}
	return names
}

// Holding lists the files in which a range of the bundle lies.
func (f *File) Holding(off, length int64) []string {
	return f.Parts()[f.files.find(off) : f.files.find(off+max(length, 1)-1)+1]
}

// partFiles reads several files as if they were one.
type partFiles []partFile

type partFile struct {
	f     *os.File
	name  string
	start int64 // in the whole
	size  int64
}

func (p partFiles) Close() error {
	var errs []error
	for i := range p {
		errs = append(errs, p[i].f.Close())
	}
	return errors.Join(errs...)
}

func (p partFiles) size() int64 {
	last := p[len(p)-1]
	return last.start + last.size
}

// find is the number of the file that byte off lies in; the last for what lies behind all of them.
func (p partFiles) find(off int64) int {
	i := 0
	for i < len(p)-1 && off >= p[i+1].start {
		i++
	}
	return i
}

func (p partFiles) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	for i := p.find(off); ; i++ {
		n := int(min(int64(len(b)-done), p[i].start+p[i].size-off))
		if n <= 0 && i == len(p)-1 {
			return done, io.EOF
		}
		k, err := p[i].f.ReadAt(b[done:done+n], off-p[i].start)
		done += k
		off += int64(k)
		if k < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return done, &PartError{p[i].name, err}
		}
		if done == len(b) {
			return done, nil
		}
	}
}
