package bundle

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// storedBuffers are two chunks, so that one is hashed while the next is read.
// They live as long as the Writer: a block costs no allocation.
type storedBuffers [2][]byte

// store writes one frame of raw blocks.
func (w *Writer) store(ctx context.Context, size int64, r io.Reader) (digest.Digest, error) {
	var header [rawHeaderSize]byte
	putRawHeader(header[:], size)
	if err := w.write(header[:]); err != nil {
		return "", err
	}
	for i := range w.stored {
		if w.stored[i] == nil {
			w.stored[i] = make([]byte, chunkSize)
		}
	}
	h := sha256.New()
	if size <= chunkBlocks*blockSize {
		chunk, err := fillChunk(w.stored[0], r, size, size)
		if err != nil {
			return "", readError(size, err)
		}
		hashBlocks(h, chunk)
		if err := w.write(chunk); err != nil {
			return "", err
		}
		return sumDigest(h.Sum(nil)), nil
	}
	if err := w.storeChunks(ctx, size, r, h); err != nil {
		return "", err
	}
	return sumDigest(h.Sum(nil)), nil
}

func (w *Writer) storeChunks(ctx context.Context, size int64, r io.Reader, h hash.Hash) error {
	free := make(chan []byte, len(w.stored))
	for _, b := range w.stored {
		free <- b
	}
	work := make(chan []byte, len(w.stored))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for chunk := range work {
			hashBlocks(h, chunk)
			free <- chunk[:chunkSize]
		}
	}()
	defer func() {
		close(work)
		<-done
	}()
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
