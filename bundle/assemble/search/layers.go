package search

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// maxExtracted is the largest file taken out of a layer for the search, in bytes; archives of images may have any size. Programs
// are larger, and name no images.
const maxExtracted = 16 << 20

// extraction is one image being read, layer by layer.
type extraction struct {
	store *store.Store
	ctx   context.Context
	root  *os.Root
	tags  map[string]digest.Digest
}

// extract writes the files of an image, from a layer on, that may name container images to dir, puts the blobs of its registry/
// into the store, and returns the images of registry/, by repository:tag and repository@digest.
func extract(ctx context.Context, st *store.Store, image v1.Descriptor, from int, dir string) (map[string]digest.Digest, error) {
	m, err := ocigraph.Read(st, image.Digest)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	x := &extraction{store: st, ctx: ctx, root: root, tags: map[string]digest.Digest{}}
	for _, l := range m.Layers[min(from, len(m.Layers)):] {
		if err := x.layer(l); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", l.Digest, err)
		}
	}
	return x.tags, nil
}

func (x *extraction) layer(d v1.Descriptor) error {
	f, err := x.store.OpenBlob(d.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return x.read(f)
}

// read takes what is wanted of a layer.
func (x *extraction) read(layer io.Reader) error {
	plain, err := unpacked(layer)
	if err != nil {
		return err
	}
	defer plain.Close()
	for entries := tar.NewReader(plain); ; {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if err := x.entry(name, h, entries); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// unpacked reads a layer, whatever it is compressed with.
func unpacked(f io.Reader) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(f, 1<<20)
	head, _ := r.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

func (x *extraction) entry(name string, h *tar.Header, r io.Reader) error {
	dir, file := path.Split(name)
	if hidden, ok := strings.CutPrefix(file, ".wh."); ok {
		return x.hide(strings.TrimSuffix(dir, "/"), hidden)
	}
	if below, ok := strings.CutPrefix(name, RegistryTree); ok {
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		return x.registry(below, h.Size, r)
	}
	if !wanted(name, h) {
		return nil
	}
	if err := x.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := x.root.RemoveAll(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		return x.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		err := x.root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // its other name was not taken either
		}
		return err
	}
	out, err := x.root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, out.Close())
}

// wanted tells whether a file may name images, or is an archive of them.
func wanted(name string, h *tar.Header) bool {
	switch h.Typeflag {
	case tar.TypeSymlink, tar.TypeLink:
	case tar.TypeReg:
		if h.Size > maxExtracted && !strings.HasPrefix(name, "images/") && !strings.HasPrefix(name, "charts/") {
			return false
		}
	default:
		return false
	}
	top, _, _ := strings.Cut(name, "/")
	return top != "bin" && top != "cri" && top != "usr" && top != "lib" && top != "proc" && top != "sys" && top != "dev"
}

// hide does what a whiteout says: something of a lower layer is gone.
func (x *extraction) hide(dir, name string) error {
	gone := path.Join(dir, name)
	if name == ".wh..opq" {
		gone = dir
	}
	for key := range x.tags {
		repository, _, _ := strings.Cut(strings.ReplaceAll(key, "@", ":"), ":")
		full := RegistryTree + "repositories/" + repository
		if gone == "" || strings.HasPrefix(full+"/", gone+"/") {
			delete(x.tags, key)
		}
	}
	if gone == "" {
		entries, err := fs.ReadDir(x.root.FS(), ".")
		for _, e := range entries {
			err = errors.Join(err, x.root.RemoveAll(e.Name()))
		}
		return err
	}
	return x.root.RemoveAll(gone)
}
