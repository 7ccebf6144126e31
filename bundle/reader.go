// Package bundle is the container format of sealbuild: one file that is an installer (the stub) with a payload behind it.
//
// The payload is one legal zstd stream whose decoded form is a tar archive of an OCI image layout, so that a stranger with zstd,
// tar and skopeo can read it without this package. An index behind the archive gives random access: any blob is found in O(1) and
// read alone, straight out of the file.
//
// What the package promises:
//
//   - Writing is one pass over the inputs with bounded memory. The same inputs
//     in the same order give the same bytes.
//   - Every length in a file is bounded by the file's size and by fixed limits
//     before anything is allocated for it; bad input gives an error, never a
//     panic.
//   - A file that is cut, foreign, damaged or from a later version is told
//     apart: *TruncatedError, ErrNotBundle, *CorruptError, *VersionError.
//   - A blob's reader reports io.EOF only after size and digest were right, and
//     a ranged read gives out nothing whose 4 MiB were not right.
//   - The index covers every byte of the file: with an IndexDigest or a signature
//     that is trusted, Verify checks all the rest, on all CPUs.
//   - A bundle may lie in several files, which are read in place.
//
// FORMAT.md in this directory specifies the bytes and gives the reasons.
package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
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
	known   knownUnits

	expected Inventory
}

// BlobInfo tells where a blob lies.
type BlobInfo struct {
	Digest     digest.Digest
	Size       int64 // decoded bytes
	StoredSize int64 // bytes of its frames in the file
	Offset     int64 // of the first of them, from the start of the file
	Stored     bool  // as it is, not compressed
}

// Open reads and checks head, trailer and index of the bundle that fills the first size bytes of r; blobs are not read. It returns
// ErrNotBundle, *TruncatedError, *VersionError or *CorruptError for what is not one.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	t, err := readTrailer(r, size)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	start := size - t.payloadSize
	h, err := readHead(r, start)
	if err != nil {
		// The file may end in the middle of a blob that is a bundle itself; then the trailer found belongs to the inner one.
		if cut := new(TruncatedError); errors.As(diagnose(r, size), &cut) {
			err = cut
		}
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	at := start + t.indexStart
	ix, err := readIndex(r, at, t)
	if err == nil && !ix.sameHead(h) {
		err = errors.New("it names another stub or size of parts than the head")
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
	return &Reader{
		r: r, size: size, start: start, trailer: t, index: ix, blobs: blobs, decoder: dec, known: newKnownUnits(ix),
		expected: ix.expected(),
	}, nil
}

func readTrailer(r io.ReaderAt, size int64) (trailer, error) {
	t, err := readTail(r, size)
	if err == errNoTail {
		err = diagnose(r, size)
	}
	return t, err
}

var errNoTail = errors.New("the file does not end like a bundle")

// readTail reads the trailer at the end of the file, or returns errNoTail.
func readTail(r io.ReaderAt, size int64) (trailer, error) {
	if size < tailSize {
		return trailer{}, errNoTail
	}
	var tail [tailSize]byte
	if err := readFull(r, tail[:], size-tailSize); err != nil {
		return trailer{}, err
	}
	// A file cut within its head can end in the magic, too: not in a length.
	n, ok := hasTail(tail[:])
	if !ok || n < tailSize || n > maxTrailerSize || n > size {
		return trailer{}, errNoTail
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

// Images lists the images in the order they were added.
func (r *Reader) Images() []Image {
	images := slices.Clone(r.index.Images)
	for i := range images {
		images[i].Platforms = slices.Clone(images[i].Platforms)
		images[i].Referrers = slices.Clone(images[i].Referrers)
	}
	return images
}

// Blobs lists the blobs in the order they lie in the file.
func (r *Reader) Blobs() []BlobInfo {
	entries := r.index.Entries[1 : len(r.index.Entries)-1]
	infos := make([]BlobInfo, 0, len(r.blobs))
	for i := range entries {
		if !isDocument(entries[i].Path) {
			infos = append(infos, r.info(&entries[i]))
		}
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

// PayloadOffset is the number of bytes before the payload: what lies behind them is a zstd stream.
func (r *Reader) PayloadOffset() int64 { return r.start }

// IndexDigest is of the index as it lies in the file. It covers, through the digests in it, every byte of the file.
func (r *Reader) IndexDigest() digest.Digest { return sumDigest(r.trailer.indexSum[:]) }

// FormatVersion is the version of the format the file has.
func (r *Reader) FormatVersion() int { return int(r.trailer.version) }

// Expected lists the blobs that images need and the site is to have already.
func (r *Reader) Expected() []Expected { return slices.Clone(r.index.Expected) }

// Expects tells whether the blob is one of [Reader.Expected], and its size in bytes.
func (r *Reader) Expects(d digest.Digest) (size int64, ok bool) {
	size, ok = r.expected[d]
	return size, ok
}

// Stub is the executable in front of the payload; its bytes are not checked.
func (r *Reader) Stub() *io.SectionReader { return io.NewSectionReader(r.r, 0, r.start) }

// StubInfo is what the index says of the stub.
func (r *Reader) StubInfo() (d digest.Digest, platform string) {
	return r.index.Stub.Digest, r.index.Stub.Platform
}
