package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

// OpenBlob reads a blob from its beginning, decoded. io.EOF is returned only after size and digest were found right, else a
// *CorruptError. It takes 1 MiB for a stored blob and 8 MiB for a compressed one. The reader is also an io.WriterTo that hands out
// its own buffers, so io.Copy does not copy.
func (r *Reader) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	e, err := r.entry(d)
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return r.open(e), nil
}

// OpenUnverified is OpenBlob without the hashing, for callers that hand the blob to somebody who compares its digest anyway. Frames
// and the size are still checked.
func (r *Reader) OpenUnverified(d digest.Digest) (io.ReadCloser, error) {
	e, err := r.entry(d)
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return &blobReader{r: r, e: e, src: r.pieces(e)}, nil
}

// ReadBlob reads a blob of at most limit bytes into memory, verified.
func (r *Reader) ReadBlob(d digest.Digest, limit int64) ([]byte, error) {
	e, err := r.entry(d)
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return r.read(e, limit)
}

// read reads an entry of at most limit bytes into memory, verified.
func (r *Reader) read(e *entry, limit int64) ([]byte, error) {
	if e.Size > limit {
		return nil, fmt.Errorf("read blob %s: it has %d bytes, more than %d", e.Digest, e.Size, limit)
	}
	b := r.open(e)
	defer b.Close()
	p := make([]byte, e.Size)
	if _, err := io.ReadFull(b, p); err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	var one [1]byte
	if _, err := b.Read(one[:]); err != io.EOF { // where the digest is reported
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return p, nil
}

// OpenZstd reads the blob's frames as they lie in the file: a legal zstd
// stream of n bytes that decodes to the blob. The bytes are not verified.
func (r *Reader) OpenZstd(d digest.Digest) (frames io.Reader, n int64, err error) {
	e, err := r.entry(d)
	if err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	n = e.length()
	return io.NewSectionReader(r.r, r.start+e.Offset, n), n, nil
}

var errBlobClosed = errors.New("the blob is closed")

// pieces yields the decoded content of an entry piece by piece; a piece is
// valid until the next one. After the last one it returns io.EOF.
type pieces interface {
	next() ([]byte, error)
	release()
}

type blobReader struct {
	r      *Reader
	e      *entry
	src    pieces
	piece  []byte
	hash   hash.Hash // nil: not verified
	err    error
	closed bool
}

func (r *Reader) open(e *entry) *blobReader {
	return &blobReader{r: r, e: e, src: r.pieces(e), hash: sha256.New()}
}

func (r *Reader) pieces(e *entry) pieces {
	if e.stored() {
		return &storedPieces{r: r, e: e}
	}
	return &packedPieces{r: r, e: e}
}

// advance loads the next piece, hashed.
func (b *blobReader) advance() error {
	if b.err != nil {
		return b.err
	}
	if b.piece, b.err = b.src.next(); b.err == nil {
		if b.hash != nil {
			b.hash.Write(b.piece)
		}
		return nil
	}
	if b.err == io.EOF && b.hash != nil {
		if got := sumDigest(b.hash.Sum(nil)); got != b.e.Digest {
			b.err = corrupt(b.e.Path, b.r.start+b.e.Offset, b.e.length(), "its content hashes to %s", got)
		}
	}
	return b.err
}

func (b *blobReader) Read(p []byte) (int, error) {
	for len(b.piece) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		if err := b.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.piece)
	b.piece = b.piece[n:]
	return n, nil
}

func (b *blobReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(b.piece) > 0 {
			n, err := w.Write(b.piece)
			total += int64(n)
			b.piece = b.piece[n:]
			if err != nil {
				return total, err
			}
		}
		if err := b.advance(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// Close gives the buffers back. Closing early is fine; nothing is verified.
func (b *blobReader) Close() error {
	if !b.closed {
		b.closed = true
		b.piece, b.err = nil, errBlobClosed
		b.src.release()
	}
	return nil
}

// BlobReader gives random access to a blob, decoded, and gives out only what is right: the first read within a unit of 4 MiB checks
// all of it against the index; later ones go straight to the bytes they need. Of a compressed blob the unit decoded last is kept.
type BlobReader struct {
	r      *Reader
	n      int // of the entry
	e      *entry
	starts []int64 // of each compressed frame, in the entry

	mu    sync.Mutex
	frame int64 // which one buf holds, -1 for none
	buf   frameBuffers
}

// BlobAt opens a blob for random access. There is nothing to close.
func (r *Reader) BlobAt(d digest.Digest) (*BlobReader, error) {
	n, ok := r.blobs[d]
	if !ok {
		return nil, fmt.Errorf("open blob: %w: %s", ErrNoBlob, d)
	}
	b := &BlobReader{r: r, n: n, e: &r.index.Entries[n], frame: -1}
	if !b.e.stored() {
		b.starts = make([]int64, len(b.e.Frames))
		for i := 1; i < len(b.e.Frames); i++ {
			b.starts[i] = b.starts[i-1] + b.e.Frames[i-1]
		}
	}
	return b, nil
}

// Size of the decoded blob in bytes.
func (b *BlobReader) Size() int64 { return b.e.Size }

// Digest of the decoded blob.
func (b *BlobReader) Digest() digest.Digest { return b.e.Digest }

// Verified tells that what ReadAt gives out was checked against the index, and need not be hashed again.
func (b *BlobReader) Verified() bool { return true }

// ReadAt implements io.ReaderAt over the decoded content. A damaged unit is a *CorruptError.
func (b *BlobReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read blob: negative offset")
	}
	if off >= b.e.Size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), b.e.Size-off)]
	done := 0
	for done < len(want) {
		n, err := b.readUnit(want[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	if len(want) < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// readUnit reads up to the end of the unit that off lies in.
func (b *BlobReader) readUnit(p []byte, off int64) (int, error) {
	i := off / unitSize
	p = p[:min(int64(len(p)), i*unitSize+b.e.unitContent(i)-off)]
	if !b.e.stored() {
		return b.readPacked(p, off)
	}
	if b.r.known.right(b.n, i) {
		return b.readStored(p, off)
	}
	buf := b.r.getChunk(chunkSize)
	defer b.r.putChunk(buf)
	err := b.r.checkStored(b.n, i, buf, func(at int64, block []byte) {
		// What the block and p have in common.
		if from, to := max(at, off), min(at+int64(len(block)), off+int64(len(p))); from < to {
			copy(p[from-off:to-off], block[from-at:])
		}
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// readStored reads what is known to be right, block by block.
func (b *BlobReader) readStored(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		k := min(int64(len(p)-done), blockSize-off%blockSize)
		at := b.r.start + b.e.Offset + rawOffset(off)
		if err := readFull(b.r.r, p[done:done+int(k)], at); err != nil {
			return done, &CorruptError{b.e.Path, at, k, err}
		}
		done += int(k)
		off += k
	}
	return len(p), nil
}

func (b *BlobReader) readPacked(p []byte, off int64) (int, error) {
	i := off / unitSize
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.frame != i {
		at := b.r.start + b.e.Offset + b.starts[i]
		b.frame = -1
		if err := b.r.readFrame(b.e, int(i), at, &b.buf); err != nil {
			return 0, err
		}
		if !b.r.known.right(b.n, i) {
			h := sha256.New()
			h.Write(b.buf.raw)
			if err := b.r.checkFrame(b.n, i, at, h); err != nil {
				return 0, err
			}
		}
		if err := b.r.decode(b.e, int(i), at, &b.buf); err != nil {
			return 0, err
		}
		b.frame = i
	}
	return copy(p, b.buf.data[off%unitSize:]), nil
}
