package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

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
