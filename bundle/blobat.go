package bundle

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

// BlobReader gives random access to a blob, decoded. A read goes straight to
// the bytes it needs: by arithmetic in a stored blob, through the one frame
// they lie in when it is compressed, of which the last one decoded is kept.
//
// A read of a part can not be checked against the digest of the whole: frames
// of compressed blobs have a checksum, stored ones none. Who needs certainty
// reads all with OpenBlob or runs Verify first.
type BlobReader struct {
	r      *Reader
	e      *entry
	starts []int64 // of each compressed frame, in the entry

	mu    sync.Mutex
	frame int // which one buf holds, -1 for none
	buf   frameBuffers
}

// BlobAt opens a blob for random access. There is nothing to close.
func (r *Reader) BlobAt(d digest.Digest) (*BlobReader, error) {
	e, err := r.entry(d)
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	b := &BlobReader{r: r, e: e, frame: -1}
	if !e.stored() {
		b.starts = make([]int64, len(e.Frames))
		for i := 1; i < len(e.Frames); i++ {
			b.starts[i] = b.starts[i-1] + e.Frames[i-1]
		}
	}
	return b, nil
}

// Size of the decoded blob in bytes.
func (b *BlobReader) Size() int64 { return b.e.Size }

// Digest of the decoded blob.
func (b *BlobReader) Digest() digest.Digest { return b.e.Digest }

// ReadAt implements io.ReaderAt over the decoded content.
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
		var n int
		var err error
		if b.e.stored() {
			n, err = b.readStored(want[done:], off+int64(done))
		} else {
			n, err = b.readPacked(want[done:], off+int64(done))
		}
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

// readStored reads up to the end of the block that off lies in.
func (b *BlobReader) readStored(p []byte, off int64) (int, error) {
	p = p[:min(int64(len(p)), blockSize-off%blockSize)]
	at := b.r.start + b.e.Offset + rawOffset(off)
	if err := readFull(b.r.r, p, at); err != nil {
		return 0, &CorruptError{b.e.Path, at, int64(len(p)), err}
	}
	return len(p), nil
}

// readPacked reads up to the end of the frame that off lies in.
func (b *BlobReader) readPacked(p []byte, off int64) (int, error) {
	i := int(off / packSize)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.frame != i {
		at := b.r.start + b.e.Offset + b.starts[i]
		b.frame = -1
		if err := b.r.readFrame(b.e, i, at, &b.buf); err != nil {
			return 0, err
		}
		if err := b.r.decode(b.e, i, at, &b.buf); err != nil {
			return 0, err
		}
		b.frame = i
	}
	return copy(p, b.buf.data[off%packSize:]), nil
}
