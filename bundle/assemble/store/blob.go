package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// DigestError is a blob that is not what its digest says.
type DigestError struct {
	Want, Got digest.Digest
	Size      int64 // bytes read
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("content is %s (%d bytes) where %s is expected", e.Got, e.Size, e.Want)
}

// SizeError is a blob that is shorter or longer than was announced.
type SizeError struct{ Want, Got int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("content has %d bytes where %d are expected", e.Got, e.Want)
}

// Has reports the size of a stored blob.
func (s *Store) Has(d digest.Digest) (int64, bool) {
	if size, ok := s.known.Load(d); ok {
		return size.(int64), true // only Remove and Prune delete, while nobody else has the store open
	}
	if err := checkDigest(d); err != nil {
		return 0, false
	}
	if fi, err := os.Stat(s.blobPath(d)); err == nil && fi.Mode().IsRegular() {
		s.known.Store(d, fi.Size())
		return fi.Size(), true
	}
	if s.base != nil {
		return s.base.Has(d)
	}
	return 0, false
}

// OpenBlob opens a stored blob for reading; fs.ErrNotExist when it is not there.
func (s *Store) OpenBlob(d digest.Digest) (*os.File, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	f, err := os.Open(s.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) && s.base != nil {
		return s.base.OpenBlob(d)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	return f, nil
}

// ReadBlob returns a small blob whole, hashed again; more than limit bytes is an error.
func (s *Store) ReadBlob(d digest.Digest, limit int64) ([]byte, error) {
	f, err := s.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read blob %s: more than %d bytes", d, limit)
	}
	if got := digest.FromBytes(data); got != d {
		return nil, fmt.Errorf("read blob %s in %s: %w (remove the file and build again)", d, s.root, &DigestError{Want: d, Got: got, Size: int64(len(data))})
	}
	return data, nil
}

// Put stores what r delivers until EOF, hashing while it writes. size is the announced number of bytes, or -1 when none was.
// Storing a blob that is there already reads nothing.
func (s *Store) Put(ctx context.Context, d digest.Digest, size int64, r io.Reader) (err error) {
	if err := checkDigest(d); err != nil {
		return err
	}
	if _, ok := s.Has(d); ok {
		return nil
	}
	f, err := os.CreateTemp(s.run.dir, "blob-")
	if err != nil {
		return fmt.Errorf("store blob %s: %w", d, err)
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	limited := r
	if size >= 0 {
		limited = io.LimitReader(r, size+1) // one more byte shows a blob that is too long
	}
	got, n, err := copyHashed(ctx, f, limited)
	if err != nil {
		return fmt.Errorf("store blob %s: %w", d, err)
	}
	if size >= 0 && n != size {
		return fmt.Errorf("store blob %s: %w", d, &SizeError{Want: size, Got: n})
	}
	if got != d {
		return fmt.Errorf("store blob %s: %w", d, &DigestError{Want: d, Got: got, Size: n})
	}
	return s.commit(f, d)
}

// PutBytes stores data and returns its digest.
func (s *Store) PutBytes(data []byte) (digest.Digest, error) {
	d := digest.FromBytes(data)
	if _, ok := s.Has(d); ok {
		return d, nil
	}
	f, err := os.CreateTemp(s.run.dir, "blob-")
	if err != nil {
		return "", fmt.Errorf("store blob %s: %w", d, err)
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("store blob %s: %w", d, err)
	}
	return d, s.commit(f, d)
}

// ImportLayout moves every blob of an OCI layout, which must lie on the store's filesystem (see TempDir), into the store. The
// layout must come from a library that wrote each blob under the digest it computed; names are trusted, bytes are not copied.
func (s *Store) ImportLayout(ctx context.Context, layout string) error {
	dir := filepath.Join(layout, "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("import layout: %w", err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if err := checkDigest(d); err != nil {
			return fmt.Errorf("import layout: %w", err)
		}
		if _, ok := s.Has(d); ok {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, e.Name()), os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("import layout: %w", err)
		}
		if err := s.commit(f, d); err != nil {
			return err
		}
	}
	return nil
}

// commit makes a complete temporary file a blob of the store and closes it. A blob that is there already stays. The disk is not
// waited for, as durable.Write would: the mark says so, and Sync waits for all blobs at once.
func (s *Store) commit(f *os.File, d digest.Digest) error {
	err := f.Chmod(0o644)
	s.flushSoon(f, 0, 0)
	size, seekErr := f.Seek(0, io.SeekEnd)
	err = errors.Join(err, seekErr)
	if err == nil {
		err = s.mark(d)
	}
	if err == nil {
		err = renameNew(f.Name(), s.blobPath(d))
	}
	err = errors.Join(err, f.Close()) // and with it a lock: only now may others come
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("store blob %s: %w", d, err)
	}
	s.known.Store(d, size)
	return nil
}

// removeBlob deletes a blob and returns the bytes it held.
func (s *Store) removeBlob(d digest.Digest) (int64, error) {
	size, ok := s.Has(d)
	if !ok {
		return 0, nil
	}
	s.known.Delete(d)
	return size, s.unlink(d)
}

func (s *Store) unlink(d digest.Digest) error {
	for _, path := range []string{s.blobPath(d), s.markPath(d)} { // the mark goes last
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove blob %s: %w", d, err)
		}
	}
	return nil
}

// checkDigest admits what may become a file name: a well-formed sha256.
func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %q: only sha256 is supported", d)
	}
	return nil
}

// copyHashed copies until EOF and hashes each piece while it is in the cache.
func copyHashed(ctx context.Context, w io.Writer, r io.Reader) (digest.Digest, int64, error) {
	h := sha256.New()
	n, err := copyContext(ctx, io.MultiWriter(w, h), r)
	if err != nil {
		return "", n, err
	}
	return digest.NewDigest(digest.SHA256, h), n, nil
}

// copyContext copies until EOF or until ctx ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
