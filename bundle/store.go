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

// storedChunks is how many chunks are in flight: some are hashed while the next are read and written. They live as long as the
// Writer: a block costs no allocation.
const storedChunks = 24

// hashesAtOnce bounds the blobs that are hashed at once. Copying is faster than
// hashing, so while one is still hashed the next is copied already.
const hashesAtOnce = 2

// hashing is a stored blob that lies in the file and may not be hashed yet.
type hashing struct {
	digest digest.Digest
	size   int64
	entry  int // in the index
	work   chan []byte
	done   chan struct{} // closed when the fields below are set
	sum    digest.Digest
	states []hashSum
	err    error
}

// BlobError says which blob a bundle could not take. It may come from a call
// behind the one that added the blob: see [Writer.AddBlob].
type BlobError struct {
	Digest digest.Digest
	Err    error
}

func (e *BlobError) Error() string { return fmt.Sprintf("add blob %s: %v", e.Digest, e.Err) }
func (e *BlobError) Unwrap() error { return e.Err }

// store writes one frame of raw blocks. It hashes every byte once: the states that the hash passes through are what later lets its
// parts be checked. What is larger than a chunk is hashed when settle says so.
func (w *Writer) store(ctx context.Context, e *entry, r io.Reader) (digest.Digest, error) {
	if err := w.beginStored(e.Size); err != nil {
		return "", err
	}
	if e.Size <= chunkBlocks*blockSize {
		chunk := <-w.chunks
		defer func() { w.chunks <- chunk }()
		filled, err := fillChunk(chunk, r, e.Size, e.Size)
		if err != nil {
			return "", readError(e.Size, err)
		}
		h := sha256.New()
		hashBlocks(h, filled)
		if err := w.write(filled); err != nil {
			return "", err
		}
		return sumDigest(h.Sum(nil)), nil
	}
	job := &hashing{
		digest: e.Digest, size: e.Size, entry: len(w.index.Entries),
		work: make(chan []byte, storedChunks), done: make(chan struct{}),
	}
	go job.run(w.chunks)
	err := w.copyChunks(ctx, e.Size, r, job.work)
	close(job.work)
	if err != nil {
		<-job.done
		return "", err
	}
	w.hashing = append(w.hashing, job)
	return e.Digest, nil
}

// settle waits until at most so many blobs are still hashed, and puts what the others hashed to into the index.
func (w *Writer) settle(most int) error {
	for len(w.hashing) > most {
		job := w.hashing[0]
		w.hashing = w.hashing[1:]
		<-job.done
		if job.err == nil && job.sum != job.digest {
			job.err = fmt.Errorf("its %d bytes hash to %s", job.size, job.sum)
		}
		if job.err != nil {
			return w.poison(&BlobError{job.digest, job.err})
		}
		w.index.Entries[job.entry].States = job.states
	}
	return nil
}

// beginStored writes the header of a frame of raw blocks.
func (w *Writer) beginStored(size int64) error {
	if w.chunks == nil {
		w.chunks = make(chan []byte, storedChunks)
		for range storedChunks {
			w.chunks <- make([]byte, chunkSize)
		}
	}
	var header [rawHeaderSize]byte
	putRawHeader(header[:], size)
	return w.write(header[:])
}

// copyChunks reads chunks, gives them to the hash, and writes them meanwhile.
func (w *Writer) copyChunks(ctx context.Context, size int64, r io.Reader, work chan<- []byte) error {
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(left, chunkBlocks*blockSize)
		free := <-w.chunks
		chunk, err := fillChunk(free, r, n, left)
		if err != nil {
			w.chunks <- free
			return readError(size, err)
		}
		left -= n
		work <- chunk // its buffer is filled anew by this goroutine only, so behind the next line
		if err := w.write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// run hashes the content of chunks and records the states between units.
func (j *hashing) run(free chan<- []byte) {
	defer close(j.done)
	h := sha256.New()
	var pos int64
	for chunk := range j.work {
		hashBlocks(h, chunk)
		pos += chunkBlocks * blockSize
		free <- chunk[:chunkSize] // room for all of them: never blocks
		if pos%unitSize == 0 && pos < j.size && j.err == nil {
			var s hashSum
			s, j.err = stateOf(h)
			j.states = append(j.states, s)
		}
	}
	j.sum = sumDigest(h.Sum(nil))
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
