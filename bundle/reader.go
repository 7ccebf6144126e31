package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// Reader gives access to an open bundle. All its methods, and all it returns
// but a single blob's reader, may be used from several goroutines at once.
type Reader struct {
	r       io.ReaderAt
	size    int64
	start   int64 // where the payload begins
	trailer trailer
	index   *index
	blobs   map[digest.Digest]int
	decoder *zstd.Decoder
	chunks  sync.Pool // *[chunkSize]byte
	frames  sync.Pool // *frameBuffers
}

// BlobInfo is where a blob lies.
type BlobInfo struct {
	Digest     digest.Digest
	Size       int64 // decoded bytes
	StoredSize int64 // bytes of its frames in the file
	Offset     int64 // of the first of them, from the start of the file
	Stored     bool  // as it is, not compressed
}

// Open reads and checks head, trailer and index of the bundle that fills the
// first size bytes of r; blobs are not read. It returns ErrNotBundle,
// *TruncatedError, *VersionError or *CorruptError for what is not one.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	t, err := readTrailer(r, size)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	start := size - t.payloadSize
	h, err := readHead(r, start)
	if err != nil {
		// The file may end in the middle of a blob that is a bundle itself; then
		// the trailer found belongs to the inner one.
		if cut := new(TruncatedError); errors.As(diagnose(r, size), &cut) {
			err = cut
		}
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	at := start + t.indexStart
	ix, err := readIndex(r, at, t)
	if err == nil && !ix.sameStub(h) {
		err = errors.New("it names another stub than the head")
	}
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", &CorruptError{PartIndex, at, sectionHeaderSize + t.indexData, err})
	}
	blobs, err := ix.blobs()
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxWindow(8<<20),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	return &Reader{r: r, size: size, start: start, trailer: t, index: ix, blobs: blobs, decoder: dec}, nil
}

func readTrailer(r io.ReaderAt, size int64) (trailer, error) {
	if size < tailSize {
		return trailer{}, diagnose(r, size)
	}
	var tail [tailSize]byte
	if err := readFull(r, tail[:], size-tailSize); err != nil {
		return trailer{}, err
	}
	n, ok := hasTail(tail[:])
	if !ok {
		return trailer{}, diagnose(r, size)
	}
	if n < tailSize || n > maxTrailerSize || n > size {
		return trailer{}, corrupt(PartTrailer, size-tailSize, tailSize, "a trailer of %d bytes", n)
	}
	b := make([]byte, n)
	if err := readFull(r, b, size-n); err != nil {
		return trailer{}, err
	}
	t, err := parseTrailer(b)
	if err == nil {
		err = t.check(size)
	}
	if version := new(VersionError); errors.As(err, &version) {
		return trailer{}, version
	}
	if err != nil {
		return trailer{}, &CorruptError{PartTrailer, size - n, n, err}
	}
	return t, nil
}

func readHead(r io.ReaderAt, start int64) (head, error) {
	var b [headSize]byte
	if err := readFull(r, b[:], start); err != nil {
		return head{}, err
	}
	h, err := parseHead(b[:])
	if err == nil && h.stubSize != start {
		err = fmt.Errorf("it belongs at byte %d", h.stubSize)
	}
	if err == nil {
		err = checkVersion(h.version, h.features)
	}
	if err != nil {
		return head{}, &CorruptError{PartHead, start, headSize, err}
	}
	return h, nil
}

func readIndex(r io.ReaderAt, at int64, t trailer) (*index, error) {
	section := make([]byte, sectionHeaderSize+t.indexData)
	if err := readFull(r, section, at); err != nil {
		return nil, err
	}
	data := section[sectionHeaderSize:]
	if string(section[:sectionHeaderSize]) != string(appendSectionHeader(nil, indexTag, len(data))) {
		return nil, errors.New("its frame does not begin like one")
	}
	if sha256.Sum256(data) != t.indexSum {
		return nil, errors.New("its digest does not match")
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxIndexJSON),
		zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	plain, err := dec.DecodeAll(data, make([]byte, 0, t.indexJSON))
	if err != nil {
		return nil, fmt.Errorf("decompress it: %w", err)
	}
	if int64(len(plain)) != t.indexJSON {
		return nil, fmt.Errorf("it has %d bytes, not %d", len(plain), t.indexJSON)
	}
	return decodeIndex(plain, t.indexStart)
}

// File is a Reader over a file that it owns.
type File struct {
	*Reader
	f *os.File
}

// OpenFile opens the bundle at path, which may be the running program itself.
func OpenFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	r, err := Open(f, st.Size())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{r, f}, nil
}

// Close closes the file. Readers of its blobs fail from then on.
func (f *File) Close() error { return f.f.Close() }

// Images lists the images in the order they were added.
func (r *Reader) Images() []Image {
	images := slices.Clone(r.index.Images)
	for i := range images {
		images[i].Platforms = slices.Clone(images[i].Platforms)
	}
	return images
}

// Blobs lists the blobs in the order they lie in the file.
func (r *Reader) Blobs() []BlobInfo {
	entries := r.index.Entries[1 : len(r.index.Entries)-1]
	infos := make([]BlobInfo, len(entries))
	for i := range entries {
		infos[i] = r.info(&entries[i])
	}
	return infos
}

// Stat tells whether and where the bundle holds the blob.
func (r *Reader) Stat(d digest.Digest) (BlobInfo, bool) {
	i, ok := r.blobs[d]
	if !ok {
		return BlobInfo{}, false
	}
	return r.info(&r.index.Entries[i]), true
}

func (r *Reader) info(e *entry) BlobInfo {
	return BlobInfo{Digest: e.Digest, Size: e.Size, StoredSize: e.length(), Offset: r.start + e.Offset, Stored: e.stored()}
}

func (r *Reader) entry(d digest.Digest) (*entry, error) {
	i, ok := r.blobs[d]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoBlob, d)
	}
	return &r.index.Entries[i], nil
}

// Size is the size of the whole file in bytes.
func (r *Reader) Size() int64 { return r.size }

// PayloadOffset is the number of bytes before the payload: what lies behind
// them is a zstd stream.
func (r *Reader) PayloadOffset() int64 { return r.start }

// IndexDigest is of the index as it lies in the file. It covers, through the
// digests in it, every byte of the file.
func (r *Reader) IndexDigest() digest.Digest { return sumDigest(r.trailer.indexSum[:]) }

// FormatVersion is the version of the format the file has.
func (r *Reader) FormatVersion() int { return int(r.trailer.version) }

// Stub is the executable in front of the payload; its bytes are not checked.
func (r *Reader) Stub() *io.SectionReader { return io.NewSectionReader(r.r, 0, r.start) }

// StubInfo is what the index says of the stub.
func (r *Reader) StubInfo() (d digest.Digest, platform string) {
	return r.index.Stub.Digest, r.index.Stub.Platform
}
