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
