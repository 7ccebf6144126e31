package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

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
