package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// HashState is the state of SHA-256 between two units of a blob.
type HashState = [sha256.Size]byte

// UnitHash hashes a blob and keeps the states that Writer.AddVerified wants.
type UnitHash struct {
	h      hash.Hash
	n      int64
	states []HashState
	err    error
}

// NewUnitHash begins to hash a blob.
func NewUnitHash() *UnitHash { return &UnitHash{h: sha256.New()} }

// Write implements io.Writer; it never fails.
func (u *UnitHash) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		k := min(int64(len(rest)), unitSize-u.n%unitSize)
		u.h.Write(rest[:k])
		u.n += k
		rest = rest[k:]
		if u.n%unitSize == 0 {
			s, err := stateOf(u.h)
			u.states = append(u.states, s)
			u.err = errors.Join(u.err, err)
		}
	}
	return len(p), nil
}

// Digest of what was written.
func (u *UnitHash) Digest() digest.Digest { return sumDigest(u.h.Sum(nil)) }

// States of what was written: one between every two units.
func (u *UnitHash) States() ([]HashState, error) {
	if n := len(u.states); n > 0 && u.n%unitSize == 0 {
		return u.states[:n-1], u.err
	}
	return u.states, u.err
}

// Reset forgets what was written.
func (u *UnitHash) Reset() {
	u.h.Reset()
	u.n, u.states, u.err = 0, nil, nil
}

// AddVerified stores a blob like AddBlob, without hashing it once more: that r delivers what hashes to d, through these states, is
// the caller's word. Where it does not hold, Reader.Verify of the finished bundle says so.
func (w *Writer) AddVerified(ctx context.Context, d digest.Digest, size int64, states []HashState, r io.Reader) error {
	if there, err := w.admit(d, size); there || err != nil {
		return err
	}
	if want := (&entry{Size: size}).units() - 1; int64(len(states)) != want {
		return fmt.Errorf("add blob %s: %d states of the hash for %d bytes", d, len(states), size)
	}
	copied := func(e *entry) (digest.Digest, error) {
		for _, s := range states {
			e.States = append(e.States, s)
		}
		return d, w.copyStored(ctx, size, r)
	}
	if err := w.addContent(blobPath(d), d, size, r, copied); err != nil {
		return w.poison(&BlobError{d, err})
	}
	w.have[d] = size
	return nil
}

// copyStored writes one frame of raw blocks. The next chunk is read while one is written.
func (w *Writer) copyStored(ctx context.Context, size int64, r io.Reader) error {
	if err := w.beginStored(size); err != nil {
		return err
	}
	if size <= chunkBlocks*blockSize {
		chunk := <-w.chunks
		defer func() { w.chunks <- chunk }()
		filled, err := fillChunk(chunk, r, size, size)
		if err != nil {
			return readError(size, err)
		}
		return w.write(filled)
	}
	ctx, cancel := context.WithCancel(ctx)
	filled := make(chan []byte)
	var failed error // of reading; to be looked at when filled is closed
	go func() {
		defer close(filled)
		failed = fillChunks(ctx, size, r, w.chunks, filled)
	}()
	var err error
	for chunk := range filled {
		if err == nil {
			err = w.write(chunk)
		}
		if err != nil {
			cancel()
		}
		w.chunks <- chunk[:chunkSize] // room for all of them: never blocks
	}
	cancel()
	if err != nil {
		return err
	}
	return failed
}

func fillChunks(ctx context.Context, size int64, r io.Reader, chunks chan []byte, filled chan<- []byte) error {
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(left, chunkBlocks*blockSize)
		free := <-chunks
		chunk, err := fillChunk(free, r, n, left)
		if err != nil {
			chunks <- free
			return readError(size, err)
		}
		left -= n
		filled <- chunk
	}
	return nil
}
