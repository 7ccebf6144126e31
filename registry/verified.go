package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// readPiece is how many bytes are read at a time to be hashed.
const readPiece = 256 << 10

// verifiedSource reads blobs so that no reader gets the last bytes of a blob that is not what its digest says. A blob
// that was right once is not hashed again while the process lives.
type verifiedSource struct {
	src    catalog.Source
	flight singleflight.Group
	mu     sync.RWMutex
	right  map[digest.Digest]struct{}
}

func (v *verifiedSource) verified(d digest.Digest) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, ok := v.right[d]
	return ok
}

func (v *verifiedSource) judge(d digest.Digest) func(right bool) {
	return func(right bool) {
		if right {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.right[d] = struct{}{}
		}
	}
}

// open reads b from offset. toEnd says that the reader is going to read all the rest.
//
// A source's reader that verifies by itself is taken as it is. Else a reader of the whole blob hashes while it reads, and before a
// part is read, the whole is.
func (v *verifiedSource) open(ctx context.Context, b catalog.Blob, offset int64, toEnd bool) (io.ReadCloser, error) {
	at, err := v.at(b)
	if err != nil {
		return nil, err
	}
	section := catalog.Section(at, offset, b.Size-offset)
	if s, ok := at.(interface{ Verified() bool }); ok && s.Verified() || v.verified(b.Digest) {
		return section, nil
	}
	if toEnd && offset == 0 {
		return &hashingReader{judge: v.judge(b.Digest), blob: b, in: section, hash: sha256.New()}, nil
	}
	if err := v.verify(ctx, b); err != nil {
		section.Close()
		return nil, err
	}
	return section, nil
}

func (v *verifiedSource) at(b catalog.Blob) (catalog.BlobReader, error) {
	at, err := v.src.BlobAt(b.Digest)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", b.Digest, err)
	}
	if at.Size() != b.Size {
		catalog.Close(at)
		return nil, fmt.Errorf("blob %s: %d bytes where %d were expected: %w", b.Digest, at.Size(), b.Size, catalog.ErrDamaged)
	}
	return at, nil
}

// verify reads a blob to its end.
func (v *verifiedSource) verify(ctx context.Context, b catalog.Blob) error {
	return shared(ctx, &v.flight, b.Digest, func() error {
		at, err := v.at(b)
		if err != nil {
			return err
		}
		defer catalog.Close(at)
		r := &hashingReader{judge: v.judge(b.Digest), blob: b, in: io.NopCloser(io.NewSectionReader(at, 0, b.Size)), hash: sha256.New()}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, readPiece))
		return err
	})
}

// shared lets requests for one blob share one reading. It returns when the reading is done, or when ctx ends.
func shared(ctx context.Context, flight *singleflight.Group, d digest.Digest, read func() error) error {
	select {
	case r := <-flight.DoChan(string(d), func() (any, error) { return nil, read() }):
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hashingReader gives out the last bytes of a blob only when all of them are right.
type hashingReader struct {
	judge func(right bool) // told once, of a blob that was read to its end
	blob  catalog.Blob
	in    io.ReadCloser
	hash  hash.Hash
	read  int64
	err   error
}

func (h *hashingReader) Read(p []byte) (int, error) {
	if h.err != nil {
		return 0, h.err
	}
	n, err := h.in.Read(p)
	h.hash.Write(p[:n])
	h.read += int64(n)
	switch {
	case h.read == h.blob.Size:
		right := digest.NewDigest(digest.SHA256, h.hash) == h.blob.Digest
		h.judge(right)
		if !right {
			h.err = fmt.Errorf("blob %s: %w", h.blob.Digest, catalog.ErrDamaged)
			return 0, h.err
		}
		h.err = io.EOF // a read after this one
		return n, nil
	case err != nil:
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		h.err = fmt.Errorf("read blob %s: %w", h.blob.Digest, err)
		return n, h.err
	}
	return n, nil
}

func (h *hashingReader) Close() error { return h.in.Close() }
