package resolve

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/pkg/compression"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// plainArchive is an image archive that is not compressed: the file itself, or one in dir, which is unpacked once for all that is
// read of it. One that holds or becomes more than its size gives reason to is refused.
func plainArchive(ctx context.Context, dir, file string) (string, error) {
	return plainWithin(ctx, dir, file, store.Room)
}

func plainWithin(ctx context.Context, dir, file string, roomOf func(size int64) int64) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	content, packed, err := compression.AutoDecompress(f)
	if err != nil {
		return "", err
	}
	defer func() { _ = content.Close() }()
	if !packed {
		return file, holdsNoHoles(ctx, file, info.Size())
	}
	plain := filepath.Join(dir, filepath.Base(file))
	out, err := os.OpenFile(plain, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	room := roomOf(info.Size())
	n, err := io.Copy(out, io.LimitReader(&whileIn{ctx, content}, room+1))
	if err := errors.Join(err, out.Close()); err != nil {
		return "", err
	}
	if n > room {
		return "", &store.GrowthError{}
	}
	return plain, holdsNoHoles(ctx, plain, n)
}

// holdsNoHoles refuses an archive with entries that are larger than it: sparse files, which no tool for images writes.
func holdsNoHoles(ctx context.Context, file string, size int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var sum int64
	for entries := tar.NewReader(f); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := entries.Next()
		if err != nil {
			return nil // its end; or it is no archive, and its reader says so
		}
		if sum += h.Size; sum > size {
			return fmt.Errorf("%s: %w", h.Name, &store.GrowthError{Size: h.Size})
		}
	}
}

// whileIn ends a long read with its context.
type whileIn struct {
	ctx context.Context
	r   io.Reader
}

func (w *whileIn) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}
