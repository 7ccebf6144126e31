package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrExists is returned when something is in the way of what is extracted.
var ErrExists = errors.New("it exists already and is not overwritten: choose another place")

// ExtractLayout writes images as an OCI image layout into dir, which must be empty or not exist, every blob checked; nil means all
// images, and then the documents too. Blobs that the site is expected to have are a *MissingError, before anything is written.
// progress, which may be nil, gets bytes written.
func (r *Reader) ExtractLayout(ctx context.Context, dir string, images []Image, progress func(int64)) error {
	all := images == nil
	if all {
		images = r.Images()
	}
	blobs, err := r.present(images)
	if err != nil {
		return fmt.Errorf("extract: %w", err)
	}
	if entries, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("extract: %w", err)
	} else if len(entries) > 0 {
		return fmt.Errorf("extract: %s is not empty: %w", dir, ErrExists)
	}
	if err := os.MkdirAll(filepath.Join(dir, v1.ImageBlobsDir, "sha256"), 0o755); err != nil {
		return fmt.Errorf("extract: %w", err)
	}
	for _, d := range blobs {
		if err := r.ExtractBlob(ctx, d, filepath.Join(dir, filepath.FromSlash(blobPath(d))), progress); err != nil {
			return err
		}
	}
	files := map[string][]byte{v1.ImageLayoutFile: ociLayout()}
	if files[v1.ImageIndexFile], err = ociIndex(images); err != nil {
		return fmt.Errorf("extract: %w", err)
	}
	if all {
		for _, name := range r.Documents() {
			if files[name], err = r.Document(name); err != nil {
				return fmt.Errorf("extract: %w", err)
			}
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("extract: %w", err)
		}
	}
	return nil
}

// present lists the blobs of images, or says which of them are not here.
func (r *Reader) present(images []Image) ([]digest.Digest, error) {
	var blobs []digest.Digest
	seen := map[digest.Digest]bool{}
	missing := &MissingError{Where: "the bundle"}
	for _, i := range images {
		reached, err := r.Reach(i)
		if err != nil {
			return nil, err
		}
		for _, b := range reached {
			if seen[b.Digest] {
				continue
			}
			seen[b.Digest] = true
			if _, ok := r.Stat(b.Digest); ok {
				blobs = append(blobs, b.Digest)
			} else if _, ok := r.Expects(b.Digest); ok {
				missing.Blobs = append(missing.Blobs, b)
			}
		}
	}
	if len(missing.Blobs) > 0 {
		return nil, missing
	}
	return blobs, nil
}

// ExtractBlob writes a blob, checked, to a file that must not exist.
func (r *Reader) ExtractBlob(ctx context.Context, d digest.Digest, name string, progress func(int64)) error {
	b, err := r.OpenBlob(d)
	if err != nil {
		return fmt.Errorf("extract: %w", err)
	}
	defer b.Close()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("extract: %s: %w", name, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("extract: %w", err)
	}
	_, err = io.Copy(extractWriter{ctx, f, progress}, b)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("extract blob %s: %w", d, err), os.Remove(name))
	}
	return nil
}

// extractWriter stops when ctx ends, and tells of what is written.
type extractWriter struct {
	ctx      context.Context
	w        io.Writer
	progress func(int64)
}

func (w extractWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, context.Cause(w.ctx)
	}
	n, err := w.w.Write(p)
	if w.progress != nil {
		w.progress(int64(n))
	}
	return n, err
}
