package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, errors.Join(fmt.Errorf("open %s: it is a directory: name the file that sealbuild wrote", path), f.Close())
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

// open finds the other parts, if there are any, and opens the whole.
func (p *partFiles) open() (*Reader, error) {
	first := &(*p)[0]
	st, err := first.f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	first.size = st.Size()
	var partSize int64
	if !p.complete() {
		partSize = partSizeOf(first.f, first.size)
	}
	if partSize == 0 {
		r, err := Open(first.f, first.size)
		if whole, ok := firstPart(first.name); ok && err != nil {
			return nil, fmt.Errorf("open bundle: %w", &PartError{first.name, fmt.Errorf("it is a further part of a bundle: open %s", whole)})
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", first.name, err)
		}
		return r, nil
	}
	if err := p.gather(partSize); err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	r, err := Open(*p, p.size())
	if err != nil {
		last := (*p)[len(*p)-1]
		if last.endsBundle() {
			err = &PartError{last.name, errForeignPart}
		}
		return nil, fmt.Errorf("%s: %w", last.name, err)
	}
	if err := p.check(r); err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	return r, nil
}

// firstPart tells whether name is that of a further part, beside its first.
func firstPart(name string) (string, bool) {
	ext := filepath.Ext(name)
	whole := strings.TrimSuffix(name, ext)
	n, err := strconv.Atoi(strings.TrimPrefix(ext, "."))
	return whole, err == nil && n > 1 && PartName(whole, n) == name && exists(whole)
}

var errForeignPart = errors.New("it is a part of another bundle, or another part of this one: put the right file there")

// partSizeOf looks at the head of what may be the first of several parts: the size of each, or 0.
func partSizeOf(f io.ReaderAt, size int64) int64 {
	_, h, err := findHead(f, size)
	if err != nil || size > h.partSize || checkVersion(h.version, h.features) != nil {
		return 0
	}
	return h.partSize
}

// gather opens the parts that lie beside the first, up to the one that ends in the trailer.
func (p *partFiles) gather(partSize int64) error {
	first := (*p)[0].name
	for n := 1; ; n++ {
		last := (*p)[n-1]
		if last.size > partSize {
			return &PartError{last.name, fmt.Errorf("it has %d bytes where parts have %d: %w", last.size, partSize, errForeignPart)}
		}
		if p.complete() {
			return nil
		}
		name := PartName(first, n+1)
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			// A full part is followed by another, unless its end is a trailer.
			if !last.endsBundle() && (last.size == partSize || exists(PartName(first, n+2))) {
				return &PartError{name, ErrMissingPart}
			}
			return nil // what is wrong with the end is for Open to tell
		}
		if err != nil {
			return err
		}
		*p = append(*p, partFile{f: f, name: name, start: last.start + last.size})
		st, err := f.Stat()
		if err != nil {
			return err
		}
		(*p)[n].size = st.Size()
		if last.size < partSize {
			if last.endsBundle() {
				return &PartError{last.name, errForeignPart}
			}
			return &PartError{last.name, fmt.Errorf("it has %d bytes of %d: copy it again", last.size, partSize)}
		}
	}
}

// endsBundle tells whether the file ends in a trailer, of whatever bundle.
func (p partFile) endsBundle() bool {
	var tail [tailSize]byte
	if p.size < tailSize || readFull(p.f, tail[:], p.size-tailSize) != nil {
		return false
	}
	_, ok := hasTail(tail[:])
	return ok
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// complete tells whether the parts so far end in a trailer of this very bundle.
func (p partFiles) complete() bool {
	t, err := readTail(p, p.size())
	if err != nil {
		return false
	}
	_, err = readHead(p, p.size()-t.payloadSize)
	return err == nil
}

// check compares the first and the last unit that lie whole in each part with the index, so that a part of another bundle is found
// before it is used. What is damaged within a part is for Verify to find.
func (p partFiles) check(r *Reader) error {
	if len(p) == 1 {
		return nil
	}
	wrong := []int{}
	for k := range p {
		if !p.fits(r, k) {
			wrong = append(wrong, k)
		}
	}
	last := len(p) - 1
	switch {
	case len(wrong) == 0:
		return nil
	case len(wrong) == last && !slices.Contains(wrong, last):
		return &PartError{p[last].name, errForeignPart} // it alone has another index
	}
	k := wrong[0]
	for j := range p {
		swapped := slices.Clone(p)
		swapped[k].f, swapped[j].f = p[j].f, p[k].f
		if j != k && p[j].size == p[k].size && swapped.fits(r, k) {
			return &PartError{p[k].name, fmt.Errorf("it is not part %d: %s is; give the files their right names", k+1, p[j].name)}
		}
	}
	return &PartError{p[k].name, errForeignPart}
}

// fits tells whether part k, read through p, is the one that r's index means.
func (p partFiles) fits(r *Reader, k int) bool {
	probe := &Reader{r: p, size: r.size, start: r.start, trailer: r.trailer, index: r.index, known: newKnownUnits(r.index)}
	buf := make([]byte, chunkSize)
	var first, last func() bool
	for n := range r.index.Entries {
		e := &r.index.Entries[n]
		begin, end := r.start+e.Offset, r.start+e.Offset+e.length()
		if end <= p[k].start || begin >= p[k].start+p[k].size {
			continue
		}
		at := begin
		for i := range e.units() {
			length := e.unitLength(i)
			if at >= p[k].start && at+length <= p[k].start+p[k].size {
				off := at
				last = func() bool { return probe.checkUnit(n, i, off, buf) == nil }
				if first == nil {
					first = last
				}
			}
			at += length
		}
	}
	return first == nil || first() && last()
}

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
