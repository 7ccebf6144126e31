package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Store is a directory in the layout of the distribution registry. It is a [Source] too, so that one host's store
// can fill another's. Its methods may be used at once from several goroutines and several processes.
type Store struct {
	root string

	// Moves, if set, tells whether this machine did anything since it was asked last. A session gives signs of life only while it
	// did, or other hosts are waited for: so a disk that hangs shows.
	Moves func() bool
	// Listen and Dial are how the hosts of a session reach each other; nil for the machine's network.
	Listen func() (net.Listener, error)
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
}

// DefaultRoot is where a registry keeps its store unless it is told otherwise, as distribution's does.
const DefaultRoot = "/var/lib/registry"

// OpenStore returns the store at root. Nothing is read or made before it is needed.
func OpenStore(root string) *Store { return &Store{root: root} }

// Root returns the directory given to OpenStore.
func (s *Store) Root() string { return s.root }

func (s *Store) path(slashed string) string {
	return filepath.Join(s.root, filepath.FromSlash(slashed))
}

// Stat implements [Source]: it looks at the disk each time.
func (s *Store) Stat(d digest.Digest) (int64, bool) {
	if (Blob{Digest: d}).check() != nil {
		return 0, false
	}
	fi, err := os.Lstat(s.path(blobData(d)))
	if err != nil || !fi.Mode().IsRegular() {
		return 0, false
	}
	return fi.Size(), true
}

// OpenBlob implements [Source]. The content is not verified.
func (s *Store) OpenBlob(d digest.Digest) (io.ReadCloser, error) { return s.open(d) }

// BlobAt implements [Source]. The reader is to be closed.
func (s *Store) BlobAt(d digest.Digest) (BlobReader, error) {
	f, err := s.open(d)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("stat blob %s: %w", d, err)
	}
	return blobFile{f, fi.Size()}, nil
}

type blobFile struct {
	*os.File
	size int64
}

func (b blobFile) Size() int64 { return b.size }

func (s *Store) open(d digest.Digest) (*os.File, error) {
	if err := (Blob{Digest: d}).check(); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(blobData(d)))
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	return f, nil
}

// Blobs returns every blob of the store with the size it has on the disk, whether or not anything links to
// it, sorted by digest. Contents are not read.
func (s *Store) Blobs(ctx context.Context) ([]Blob, error) {
	var all []Blob
	base := s.path(layoutBlobs + "/sha256")
	prefixes, err := readDirectory(base)
	if err != nil {
		return nil, err
	}
	for _, p := range prefixes {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list blobs: %w", err)
		}
		entries, err := readDirectory(filepath.Join(base, p.Name()))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
			if size, ok := s.Stat(d); ok {
				all = append(all, Blob{Digest: d, Size: size})
			}
		}
	}
	return all, nil
}

// readDirectory lists a directory in order; one that does not exist is empty.
func readDirectory(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list store: %w", err)
	}
	return entries, nil
}

// Verify reads every blob on all cores and returns those whose content is not what their name says.
// progress, if not nil, is told of bytes as they are read, from several goroutines.
func (s *Store) Verify(ctx context.Context, progress func(bytes int64)) ([]Blob, error) {
	blobs, err := s.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	bad := make([]bool, len(blobs))
	err = eachBlob(ctx, len(blobs), func(i int) error {
		ok, err := s.intact(ctx, blobs[i], progress)
		bad[i] = !ok
		return err
	})
	var damaged []Blob
	for i, b := range blobs {
		if bad[i] {
			damaged = append(damaged, b)
		}
	}
	return damaged, err
}

// intact says whether the file of a blob has its size and its content.
func (s *Store) intact(ctx context.Context, b Blob, progress func(int64)) (bool, error) {
	f, err := s.open(b.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	v := digest.SHA256.Hash()
	n, err := io.Copy(v, &watchedReader{ctx: ctx, r: f, progress: progress})
	if ctx.Err() != nil {
		return false, fmt.Errorf("verify blob %s: %w", b.Digest, ctx.Err())
	}
	// A file that cannot be read is damage too: the disk under it is.
	return err == nil && n == b.Size && digest.NewDigest(digest.SHA256, v) == b.Digest, nil
}

// watchedReader stops at the end of a context and tells of progress.
type watchedReader struct {
	ctx      context.Context
	r        io.Reader
	progress func(int64)
}

func (w *watchedReader) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.r.Read(p)
	if n > 0 && w.progress != nil {
		w.progress(int64(n))
	}
	return n, err
}

// eachBlob calls fn with 0 … n-1 on all cores until one fails.
func eachBlob(ctx context.Context, n int, fn func(i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	next := 0
	for range max(runtime.GOMAXPROCS(0), 4) { // a cold disk likes a few questions at once
		g.Go(func() error {
			for ctx.Err() == nil {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n {
					return nil
				}
				if err := fn(i); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}
