package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/bundle"
)

// flushEvery is after how many bytes a blob's beginning is sent to the disk, so that the disk works while the network does.
const flushEvery = 8 << 20

// Incoming is a blob on its way into the store. It is hashed as it is written. What came of it stays when the transfer is cut or
// the process is killed, and the next Incoming of the same digest begins behind it.
type Incoming struct {
	store   *Store
	digest  digest.Digest
	size    int64
	f       *os.File
	hash    *bundle.UnitHash
	n       int64 // bytes that came
	flushed int64
	kept    bool // lies below partial/
	done    bool
}

// Incoming begins or goes on receiving a blob of size bytes. What is there of it already is hashed first. Of several processes that
// receive one blob, one has the kept file and the others begin anew.
func (s *Store) Incoming(ctx context.Context, d digest.Digest, size int64) (*Incoming, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	in := &Incoming{store: s, digest: d, size: size, hash: bundle.NewUnitHash()}
	if err := in.open(); err != nil {
		return nil, fmt.Errorf("store blob %s: %w", d, err)
	}
	if err := in.resume(ctx); err != nil {
		_ = in.f.Close()
		return nil, fmt.Errorf("store blob %s: %w", d, err)
	}
	return in, nil
}

func (in *Incoming) open() error {
	path := filepath.Join(in.store.root, "partial", in.digest.Encoded())
	for range 10 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		if flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil { // another process receives it
			_ = f.Close()
			break
		}
		if sameFile(f, path) {
			in.f, in.kept = f, true
			return nil
		}
		_ = f.Close() // it was completed between open and lock
	}
	f, err := os.CreateTemp(in.store.run.dir, "blob-")
	in.f = f
	return err
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// resume hashes what an earlier run left.
func (in *Incoming) resume(ctx context.Context) error {
	fi, err := in.f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() == 0 {
		return nil
	}
	if fi.Size() > in.size {
		return in.Rewind()
	}
	in.n, err = copyContext(ctx, in.hash, in.f)
	in.flushed = in.n
	return err
}

// Offset is how many bytes came.
func (in *Incoming) Offset() int64 { return in.n }

// Complete tells whether all of it came; Commit checks what it is.
func (in *Incoming) Complete() bool { return in.n == in.size }

// Write appends to the blob. More bytes than were announced are a *SizeError.
func (in *Incoming) Write(p []byte) (int, error) {
	if in.n+int64(len(p)) > in.size {
		return 0, &SizeError{Want: in.size, Got: in.n + int64(len(p))}
	}
	n, err := in.f.Write(p)
	_, _ = in.hash.Write(p[:n])
	in.n += int64(n)
	if in.n-in.flushed >= flushEvery {
		in.store.flushSoon(in.f, in.flushed, in.n-in.flushed)
		in.flushed = in.n
	}
	return n, err
}

// Rewind forgets what came.
func (in *Incoming) Rewind() error {
	if err := in.f.Truncate(0); err != nil {
		return err
	}
	if _, err := in.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in.hash.Reset()
	in.n, in.flushed = 0, 0
	return nil
}

// Commit makes it a blob of the store. If bytes are missing the error is a *SizeError, and what came stays to be completed; if the
// digest is another the error is a *DigestError, and what came is forgotten.
func (in *Incoming) Commit() error {
	if in.n != in.size {
		return fmt.Errorf("store blob %s: %w", in.digest, &SizeError{Want: in.size, Got: in.n})
	}
	if got := in.hash.Digest(); got != in.digest {
		err := fmt.Errorf("store blob %s: %w", in.digest, &DigestError{Want: in.digest, Got: got, Size: in.n})
		return errors.Join(err, in.Rewind())
	}
	in.done = true
	if err := in.store.commit(in.f, in.digest); err != nil {
		return err
	}
	if states, err := in.hash.States(); err == nil {
		in.store.hashed.Store(in.digest, states)
	}
	return nil
}

// Hashed returns the states that a blob's hash passed through, if this process
// hashed it while it arrived: it need not be hashed again to be written.
func (s *Store) Hashed(d digest.Digest) ([]bundle.HashState, bool) {
	states, ok := s.hashed.Load(d)
	if !ok {
		return nil, false
	}
	return states.([]bundle.HashState), true
}

// Close ends receiving. What came of an unfinished blob stays.
func (in *Incoming) Close() error {
	if in.done {
		return nil
	}
	in.done = true
	var err error
	if in.n == 0 || !in.kept {
		err = os.Remove(in.f.Name())
	}
	return errors.Join(err, in.f.Close())
}

// dropPartials deletes cut downloads that nobody goes on with.
func (s *Store) dropPartials() (int64, error) {
	dir := filepath.Join(s.root, "partial")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("list cut downloads: %w", err)
	}
	var freed int64
	for _, e := range entries {
		fi, err := e.Info()
		if err == nil {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, fmt.Errorf("remove cut download: %w", err)
		}
		if err == nil {
			freed += fi.Size()
		}
	}
	return freed, nil
}
