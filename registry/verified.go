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
)

// ErrDamaged is wrapped when the content of a blob does not have its digest.
var ErrDamaged = errors.New("content does not match its digest")

// wholeFirst is the context key of a request that will not read a blob to its end: the blob is then verified before its first
// byte is given out, not while it is read.
type wholeFirst struct{}

// verifiedSource reads blobs so that no reader gets the last bytes of a blob that is not what its digest says. A blob
// that was right once is not hashed again while the process lives.
type verifiedSource struct {
	src    Source
	flight singleflight.Group
	mu     sync.RWMutex
	right  map[digest.Digest]struct{}
}

func newVerifiedSource(src Source) *verifiedSource {
	return &verifiedSource{src: src, right: map[digest.Digest]struct{}{}}
}

func (v *verifiedSource) verified(d digest.Digest) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, ok := v.right[d]
	return ok
}

func (v *verifiedSource) remember(d digest.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.right[d] = struct{}{}
}

// open reads b from offset. A first reader from the beginning hashes while it reads; one that starts in the middle waits until
// somebody has read the whole.
func (v *verifiedSource) open(ctx context.Context, b Blob, offset int64) (io.ReadCloser, error) {
	whole := ctx.Value(wholeFirst{}) == nil && offset == 0
	if !whole && !v.verified(b.Digest) {
		if err := v.verify(ctx, b); err != nil {
			return nil, err
		}
	}
	at, err := v.at(b)
	if err != nil {
		return nil, err
	}
	section := sectionCloser{io.NewSectionReader(at, offset, b.Size-offset), at}
	if v.verified(b.Digest) {
		return section, nil
	}
	return &hashingReader{src: v, blob: b, in: section, hash: sha256.New()}, nil
}

func (v *verifiedSource) at(b Blob) (BlobReader, error) {
	at, err := v.src.BlobAt(b.Digest)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", b.Digest, err)
	}
	if at.Size() != b.Size {
		closeAll(at)
		return nil, fmt.Errorf("blob %s: %d bytes where %d were expected: %w", b.Digest, at.Size(), b.Size, ErrDamaged)
	}
	return at, nil
}

// verify reads a blob to its end; many who ask for one blob share one reading.
func (v *verifiedSource) verify(ctx context.Context, b Blob) error {
	done := v.flight.DoChan(string(b.Digest), func() (any, error) {
		at, err := v.at(b)
		if err != nil {
			return nil, err
		}
		defer closeAll(at)
		r := &hashingReader{src: v, blob: b, in: io.NopCloser(io.NewSectionReader(at, 0, b.Size)), hash: sha256.New()}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, maxData))
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hashingReader gives out the last bytes of a blob only when all of them are right.
type hashingReader struct {
	src  *verifiedSource
	blob Blob
	in   io.ReadCloser
	hash hash.Hash
	read int64
	err  error
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
		if digest.NewDigest(digest.SHA256, h.hash) != h.blob.Digest {
			h.err = fmt.Errorf("blob %s: %w", h.blob.Digest, ErrDamaged)
			return 0, h.err
		}
		h.src.remember(h.blob.Digest)
		h.err = io.EOF // a read after this one
		return n, nil
	case err != nil:
		h.err = fmt.Errorf("read blob %s: %w", h.blob.Digest, noEOF(err))
		return n, h.err
	}
	return n, nil
}

func (h *hashingReader) Close() error { return h.in.Close() }
