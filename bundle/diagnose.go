package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// diagnose says what is wrong with a file that does not end in a trailer. It
// looks for the head, then follows the frames to where they stop being right.
func diagnose(r io.ReaderAt, size int64) error {
	start, h, err := findHead(r, size)
	if err != nil {
		return err
	}
	if err := checkVersion(h.version, h.features); err != nil {
		return err
	}
	return (&walker{r: r, size: size, start: start, pos: start + headSize}).walk()
}

// findHead searches the first MaxStubSize bytes. A head says where it lies, so
// that the magic in a program that knows the format is not taken for one.
func findHead(r io.ReaderAt, size int64) (int64, head, error) {
	want := headStart()
	limit := min(size, MaxStubSize+headSize)
	buf := make([]byte, max(int64(len(want)), min(limit, 1<<20)))
	for off := int64(0); off < limit; off += int64(len(buf) - len(want) + 1) {
		b := buf[:min(int64(len(buf)), limit-off)]
		if err := readFull(r, b, off); err != nil {
			return 0, head{}, err
		}
		for i := 0; ; i++ {
			n := bytes.Index(b[i:], want)
			if n < 0 {
				break
			}
			i += n
			at := off + int64(i)
			raw := make([]byte, min(headSize, size-at))
			if err := readFull(r, raw, at); err != nil {
				return 0, head{}, err
			}
			if len(raw) < headSize {
				return 0, head{}, &TruncatedError{Entry: PartHead, Start: at, End: at + headSize, Size: size}
			}
			if h, err := parseHead(raw); err == nil && h.stubSize == at {
				return at, h, nil
			}
		}
	}
	return 0, head{}, ErrNotBundle
}

// walker follows the frames of a payload without its index.
type walker struct {
	r           io.ReaderAt
	size, start int64
	pos         int64
	prev        int64
	last        string // path of the entry before
}

func (w *walker) walk() error {
	for {
		h, end, err := w.gap()
		if err != nil {
			return err
		}
		if end {
			return w.ends()
		}
		if err := w.content(h); err != nil {
			return err
		}
		w.prev, w.last = h.size, h.name
	}
}

// stop turns the error of a frame at w.pos, which is part of what began at start, into one that names its place.
func (w *walker) stop(name string, start int64, s frameShape, err error) error {
	if errors.Is(err, errShort) {
		cut := &TruncatedError{Entry: name, Start: start, Size: w.size}
		if s.length > 0 && start == w.pos {
			cut.End = start + s.length
		}
		return cut
	}
	return &CorruptError{name, w.pos, min(max(s.length, 1), w.size-w.pos), err}
}

func (w *walker) gap() (h tarHeader, end bool, err error) {
	name := headerOf("the entry behind " + w.last)
	if w.last == "" {
		name = headerOf("the first entry")
	}
	s, err := walkFrame(w.r, w.pos, w.size)
	if err != nil {
		return h, false, w.stop(name, w.pos, s, err)
	}
	if s.skippable || s.content > maxGap || s.length != rawFrameSize(s.content) {
		return h, false, w.stop(name, w.pos, s, errors.New("it is not a stored frame"))
	}
	b := make([]byte, s.length)
	if err := readFull(w.r, b, w.pos); err != nil {
		return h, false, err
	}
	content := b[rawHeaderSize+blockHeaderSize:]
	if !bytes.Equal(b, appendRawFrame(nil, content)) {
		return h, false, w.stop(name, w.pos, s, errors.New("it is not a stored frame"))
	}
	h, end, err = parseGap(w.prev, content)
	if err != nil {
		return h, false, w.stop(name, w.pos, s, err)
	}
	w.pos += s.length
	return h, end, nil
}

func (w *walker) content(h tarHeader) error {
	start, got := w.pos, int64(0)
	for first := true; first || got < h.size; first = false {
		s, err := walkFrame(w.r, w.pos, w.size)
		if err == nil && (s.skippable || s.content > h.size-got || s.content == 0 && h.size > 0) {
			err = fmt.Errorf("a frame of %d bytes where %d are missing", s.content, h.size-got)
		}
		if err != nil {
			if s.content == h.size && first && s.length == 0 { // cut, and known to be one stored frame
				s.length = w.storedLength(h.size)
			}
			return w.stop(h.name, start, s, err)
		}
		got += s.content
		w.pos += s.length
	}
	return nil
}

// storedLength is what the frame at w.pos has if it is a stored one, else 0.
func (w *walker) storedLength(size int64) int64 {
	var b, want [rawHeaderSize]byte
	putRawHeader(want[:], size)
	if readFull(w.r, b[:], w.pos) != nil || b != want {
		return 0
	}
	return rawFrameSize(size)
}

// ends looks at what follows the archive. The trailer was not where it should
// be, so one of these parts is cut, damaged or followed by something.
func (w *walker) ends() error {
	for _, name := range []string{PartIndex, PartSignature, PartTrailer} {
		if name == PartSignature && !w.signed() {
			continue
		}
		s, err := walkFrame(w.r, w.pos, w.size)
		if err == nil && !s.skippable {
			err = errors.New("it is not a skippable frame")
		}
		if err != nil {
			return w.stop(name, w.pos, s, err)
		}
		if name == PartTrailer {
			return w.trailer(s)
		}
		w.pos += s.length
	}
	return nil
}

// signed tells whether the frame at w.pos is that of a signature.
func (w *walker) signed() bool {
	var b [sectionHeaderSize]byte
	return readFull(w.r, b[:], w.pos) == nil && string(b[skippableHeaderSize:]) == signatureTag
}

func (w *walker) trailer(s frameShape) error {
	if s.length > maxTrailerSize {
		return w.stop(PartTrailer, w.pos, s, fmt.Errorf("a trailer of %d bytes", s.length))
	}
	b := make([]byte, s.length)
	if err := readFull(w.r, b, w.pos); err != nil {
		return err
	}
	if _, err := parseTrailer(b); err != nil {
		return w.stop(PartTrailer, w.pos, s, err)
	}
	end := w.pos + s.length
	if end == w.size {
		return w.stop(PartTrailer, w.pos, s, errors.New("it does not belong to this head"))
	}
	return corrupt(PartBehind, end, w.size-end, "the bundle ends before them")
}

// ErrNotBundle is returned by Open for a file that holds no bundle: neither
// the trailer at its end nor the head in its first MaxStubSize bytes.
var ErrNotBundle = errors.New("not a sealbuild bundle")

// ErrNoBlob is returned for a digest that no blob of the bundle has.
var ErrNoBlob = errors.New("blob is not in the bundle")

// Names of the parts of a file that are not archive entries, as they stand in the Entry field of errors and of Damage. Archive
// entries have their path there, and the tar header before an entry is "header of PATH".
const (
	PartStub      = "stub"
	PartHead      = "head"
	PartEnd       = "end of archive"
	PartIndex     = "index"
	PartSignature = "signature"
	PartTrailer   = "trailer"
	PartBehind    = "bytes behind the trailer"
)

func headerOf(path string) string { return "header of " + path }

// TruncatedError says that the file is a bundle whose tail is missing.
type TruncatedError struct {
	Entry string // what is cut: a path in the archive or one of the Part names
	Start int64  // where that begins in the file, in bytes
	End   int64  // where it would end; 0 when the bytes that say so are missing
	Size  int64  // where the file ends
}

func (e *TruncatedError) Error() string {
	want := ""
	if e.End > 0 {
		want = fmt.Sprintf(" and ends at byte %d", e.End)
	}
	return fmt.Sprintf("bundle is truncated: the file ends at byte %d, within %s, which begins at byte %d%s; copy the file again",
		e.Size, e.Entry, e.Start, want)
}

// VersionError says that the file is a bundle this version of the program cannot read.
type VersionError struct {
	Version   int    // the format version the file declares
	Supported int    // the highest version this package reads
	Features  uint32 // feature bits the file needs and this package lacks
}

func (e *VersionError) Error() string {
	if e.Version == e.Supported {
		return fmt.Sprintf("bundle needs features %#x of format version %d, which this program does not know; use a newer sealinstall",
			e.Features, e.Version)
	}
	return fmt.Sprintf("bundle has format version %d, this program reads up to %d; use a newer sealinstall", e.Version, e.Supported)
}

// CorruptError says which bytes of a bundle are not what they must be.
type CorruptError struct {
	Entry  string // a path in the archive or one of the Part names
	Offset int64  // first byte of the damaged range, from the start of the file
	Length int64  // bytes in the range
	Err    error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("bundle is damaged: %s, bytes %d to %d: %v; copy the file again", e.Entry, e.Offset, e.Offset+e.Length, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

func corrupt(entry string, offset, length int64, format string, args ...any) *CorruptError {
	return &CorruptError{Entry: entry, Offset: offset, Length: length, Err: fmt.Errorf(format, args...)}
}
