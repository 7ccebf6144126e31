package bundle

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// storedBuffers are chunks in flight: some are hashed while the next is read
// and written. They live as long as the Writer: a block costs no allocation.
type storedBuffers [4][]byte

// store writes one frame of raw blocks. It hashes every byte once: the states
// that the hash passes through are what later lets its parts be checked.
func (w *Writer) store(ctx context.Context, e *entry, r io.Reader) (digest.Digest, error) {
	if err := w.beginStored(e.Size); err != nil {
		return "", err
	}
	h := sha256.New()
	if e.Size <= chunkBlocks*blockSize {
		chunk, err := fillChunk(w.stored[0], r, e.Size, e.Size)
		if err != nil {
			return "", readError(e.Size, err)
		}
		hashBlocks(h, chunk)
		if err := w.write(chunk); err != nil {
			return "", err
		}
		return sumDigest(h.Sum(nil)), nil
	}
	if err := w.storeChunks(ctx, e, r, h); err != nil {
		return "", err
	}
	return sumDigest(h.Sum(nil)), nil
}

// beginStored writes the header of a frame of raw blocks.
func (w *Writer) beginStored(size int64) error {
	for i := range w.stored {
		if w.stored[i] == nil {
			w.stored[i] = make([]byte, chunkSize)
		}
	}
	var header [rawHeaderSize]byte
	putRawHeader(header[:], size)
	return w.write(header[:])
}

func (w *Writer) storeChunks(ctx context.Context, e *entry, r io.Reader, h hash.Hash) error {
	free := make(chan []byte, len(w.stored))
	for _, b := range w.stored {
		free <- b
	}
	work := make(chan []byte, len(w.stored))
	hashed := make(chan error, 1)
	go func() { hashed <- hashChunks(e, h, work, free) }()
	err := w.copyChunks(ctx, e.Size, r, work, free)
	close(work)
	if herr := <-hashed; err == nil {
		err = herr
	}
	return err
}

// copyChunks reads chunks, gives them to the hash, and writes them meanwhile.
func (w *Writer) copyChunks(ctx context.Context, size int64, r io.Reader, work chan<- []byte, free <-chan []byte) error {
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(left, chunkBlocks*blockSize)
		chunk, err := fillChunk(<-free, r, n, left)
		if err != nil {
			return readError(size, err)
		}
		left -= n
		work <- chunk
		if err := w.write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// hashChunks hashes the content of chunks and records the states between units.
func hashChunks(e *entry, h hash.Hash, work <-chan []byte, free chan<- []byte) error {
	var failed error
	var pos int64
	for chunk := range work {
		hashBlocks(h, chunk)
		pos += chunkBlocks * blockSize
		free <- chunk[:chunkSize] // room for all of them: never blocks
		if pos%unitSize == 0 && pos < e.Size && failed == nil {
			var s hashSum
			s, failed = stateOf(h)
			e.States = append(e.States, s)
		}
	}
	return failed
}

// fillChunk reads n bytes from r into the blocks of buf, their headers before
// them; left is what the frame still lacks, so that the last block is known.
func fillChunk(buf []byte, r io.Reader, n, left int64) ([]byte, error) {
	p := 0
	for first := true; n > 0 || first; first = false {
		k := min(n, blockSize)
		n -= k
		left -= k
		header := blockHeader(k, left == 0)
		p += copy(buf[p:], header[:])
		if _, err := io.ReadFull(r, buf[p:p+int(k)]); err != nil {
			return nil, err
		}
		p += int(k)
	}
	return buf[:p], nil
}

// readError tells a reader that ended from one that failed.
func readError(size int64, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("it is shorter than its %d bytes: %w", size, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read: %w", err)
}

// hashBlocks feeds h the content of whole blocks, without their headers.
func hashBlocks(h hash.Hash, chunk []byte) {
	for len(chunk) > 0 {
		n := min(len(chunk), blockHeaderSize+blockSize)
		h.Write(chunk[blockHeaderSize:n])
		chunk = chunk[n:]
	}
}
