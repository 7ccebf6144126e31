// Package disk is the store of a registry: a directory in the layout of the distribution registry (docker/registry/v2/…), and what
// is done with it. Any registry of that family can serve it, before, while and after this package writes to it.
//
// # Durability
//
// What a name in the store points to is on the disk before the name is. In detail:
//
//  1. A blob is written below <root>/.sealbuild, hashed while it arrives, fsynced, and only then renamed to
//     its place. A file that has the name of a blob therefore has the blob's content, even after a power cut.
//  2. When every blob is in place the filesystem is synced once; that makes all the renames durable. One syncfs costs
//     what a directory fsync costs and replaces thousands of them.
//  3. Links (layers, then manifests with children first, then the tags' history) are written aside, synced
//     together, renamed, and synced again.
//  4. Only then do the tags' current links change, in the same way. Success is reported after the last sync.
//
// So a tag never names a manifest that is not there, and a manifest never names a blob that is not there, whenever
// the power fails. Two sessions may fill one store at once: each partial blob is locked by one of them, the other session writes
// a copy of its own, and both rename it to the same name.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// Store is a directory in the layout of the distribution registry. It is a [catalog.Source] too, so that one host's store
// can fill another's. Its methods may be used at once from several goroutines and several processes.
type Store struct {
	root string
}

// Open returns the store at root. Nothing is read or made before it is needed.
func Open(root string) *Store { return &Store{root: root} }

// Root returns the directory given to Open.
func (s *Store) Root() string { return s.root }

// Path returns the file of a slash-separated path of the layout.
func (s *Store) Path(slashed string) string {
	return filepath.Join(s.root, filepath.FromSlash(slashed))
}

// Stat implements [catalog.Source]: it looks at the disk each time.
func (s *Store) Stat(d digest.Digest) (int64, bool) {
	if (catalog.Blob{Digest: d}).Check() != nil {
		return 0, false
	}
	fi, err := os.Lstat(s.Path(BlobData(d)))
	if err != nil || !fi.Mode().IsRegular() {
		return 0, false
	}
	return fi.Size(), true
}

// OpenBlob implements [catalog.Source]. The content is not verified.
func (s *Store) OpenBlob(d digest.Digest) (io.ReadCloser, error) { return s.File(d) }

// BlobAt implements [catalog.Source]. The reader is to be closed.
func (s *Store) BlobAt(d digest.Digest) (catalog.BlobReader, error) {
	f, err := s.File(d)
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

// File opens the file of a blob. The content is not verified.
func (s *Store) File(d digest.Digest) (*os.File, error) {
	if err := (catalog.Blob{Digest: d}).Check(); err != nil {
		return nil, err
	}
	f, err := os.Open(s.Path(BlobData(d)))
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	return f, nil
}

// Blobs returns every blob of the store with the size it has on the disk, whether or not anything links to
// it, sorted by digest. Contents are not read.
func (s *Store) Blobs(ctx context.Context) ([]catalog.Blob, error) {
	var all []catalog.Blob
	base := s.Path(layoutBlobs + "/sha256")
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
				all = append(all, catalog.Blob{Digest: d, Size: size})
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
func (s *Store) Verify(ctx context.Context, progress func(bytes int64)) ([]catalog.Blob, error) {
	blobs, err := s.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	bad := make([]bool, len(blobs))
	err = OnAllCores(ctx, len(blobs), func(i int) error {
		ok, err := s.Intact(ctx, blobs[i], progress)
		bad[i] = !ok
		return err
	})
	var damaged []catalog.Blob
	for i, b := range blobs {
		if bad[i] {
			damaged = append(damaged, b)
		}
	}
	return damaged, err
}

// Intact reads the file of a blob, and says whether it has the blob's size and content.
func (s *Store) Intact(ctx context.Context, b catalog.Blob, progress func(int64)) (bool, error) {
	f, err := s.File(b.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	v := digest.SHA256.Hash()
	n, err := io.Copy(v, Watched(ctx, f, progress))
	if ctx.Err() != nil {
		return false, fmt.Errorf("verify blob %s: %w", b.Digest, ctx.Err())
	}
	// A file that cannot be read is damage too: the disk under it is.
	return err == nil && n == b.Size && digest.NewDigest(digest.SHA256, v) == b.Digest, nil
}

// Watched returns r such that it stops at the end of ctx, and tells progress, if not nil, of the bytes read.
func Watched(ctx context.Context, r io.Reader, progress func(bytes int64)) io.Reader {
	return &watchedReader{ctx, r, progress}
}

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

// OnAllCores calls fn with 0 … n-1 on all cores until one fails.
func OnAllCores(ctx context.Context, n int, fn func(i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range max(runtime.GOMAXPROCS(0), 4) { // a disk that has nothing cached answers several questions at once faster
		g.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
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
