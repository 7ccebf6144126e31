package pull

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containers/image/v5/pkg/compression"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// loadOCI takes an image out of an archive that is an OCI layout. What is in it is judged as what a registry answers: the same
// images are taken and refused, and a layer that is kept elsewhere is fetched from there.
func loadOCI(ctx context.Context, st *store.Store, a Archive, o Options) (p store.Pinned, err error) {
	dir, err := st.TempDir("archive")
	if err != nil {
		return store.Pinned{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	from := unpacked(dir)
	if err := from.unpack(ctx, a.Path); err != nil {
		return store.Pinned{}, err
	}
	root, err := from.root(a.Source)
	if err != nil {
		return store.Pinned{}, err
	}
	g, err := newGatherer(st, o)
	if err != nil {
		return store.Pinned{}, err
	}
	defer g.remotes.close()
	d := &describing{gatherer: g, img: &image{wanted: a.Wanted}, from: inArchive{from, st}, fetched: map[digest.Digest][]byte{}}
	d.img.wanted.Platforms = o.Platforms
	leaves, err := d.below(ctx, root)
	if err != nil {
		return store.Pinned{}, err
	}
	g.queue.add(firstOfAll, func(ctx context.Context) {
		for _, leaf := range leaves {
			if err = from.give(ctx, g, leaf); err != nil {
				return
			}
		}
	})
	if g.queue.run(ctx, 1); err != nil || ctx.Err() != nil {
		return store.Pinned{}, errors.Join(err, ctx.Err())
	}
	return g.complete(d.img)
}

// unpacked is the directory in which the files of an OCI layout lie. Each blob is what its name says.
type unpacked string

func (u unpacked) unpack(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	plain, _, err := compression.AutoDecompress(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }()
	for entries := tar.NewReader(plain); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := u.take(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), entries); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// take keeps one file of the layout, and nothing else that lies in the archive.
func (u unpacked) take(name string, r io.Reader) error {
	d := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimPrefix(name, "blobs/sha256/"))
	at := u.path(d)
	switch {
	case name == v1.ImageIndexFile:
		at = filepath.Join(string(u), name)
	case !strings.HasPrefix(name, "blobs/sha256/"), d.Validate() != nil:
		return nil
	}
	f, err := os.Create(at)
	if err != nil {
		return err
	}
	sum := digest.SHA256.Digester()
	n, err := io.Copy(io.MultiWriter(f, sum.Hash()), r)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if name != v1.ImageIndexFile && sum.Digest() != d {
		return &store.DigestError{Want: d, Got: sum.Digest(), Size: n}
	}
	return nil
}

func (u unpacked) path(d digest.Digest) string { return filepath.Join(string(u), d.Encoded()) }

// root is the image that the layout knows by a name, by its place in index.json ("@N"), or as its only one.
func (u unpacked) root(source string) (v1.Descriptor, error) {
	raw, err := os.ReadFile(filepath.Join(string(u), v1.ImageIndexFile))
	if err != nil {
		return v1.Descriptor{}, errors.New("it holds no index.json")
	}
	index, err := ocigraph.Parse(digest.FromBytes(raw), raw)
	if err != nil {
		return v1.Descriptor{}, err
	}
	all := index.Manifests
	place, placed := strings.CutPrefix(source, "@")
	n, err := strconv.Atoi(place)
	switch {
	case placed && err == nil && n >= 0 && n < len(all):
		return bare(all[n]), nil
	case source == "" && len(all) == 1:
		return bare(all[0]), nil
	case source == "":
		return v1.Descriptor{}, fmt.Errorf("it holds %s where one is expected: save the one that is meant alone", count.Of(len(all), "image"))
	}
	for _, d := range all {
		if d.Annotations[v1.AnnotationRefName] == source {
			return bare(d), nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("it holds no image %q", source)
}

// bare is a descriptor without what a layout says of it.
func bare(d v1.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// give puts a blob of the layout into the store; one that is not there may lie elsewhere.
func (u unpacked) give(ctx context.Context, g *gatherer, d v1.Descriptor) error {
	if _, ok := g.store.Has(d.Digest); ok {
		return nil
	}
	f, err := os.Open(u.path(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		failed := &BlobError{Digest: d.Digest, MediaType: d.MediaType, Err: errors.New("the archive does not hold it")}
		if len(d.URLs) == 0 {
			return failed
		}
		if failed.URLs = g.elsewhere(ctx, d, d.URLs); failed.URLs != nil {
			return failed
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return g.store.Put(ctx, d.Digest, d.Size, f)
}

// inArchive is where the documents of an image lie in an unpacked archive.
type inArchive struct {
	unpacked
	store *store.Store
}

func (a inArchive) manifest(_ context.Context, d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	f, err := os.Open(a.path(d))
	if err != nil {
		return nil, absent{errors.New("the archive does not hold it")}
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, ocigraph.MaxManifest+1))
	return raw, errors.Join(err, ocigraph.CheckSize(d, int64(len(raw))))
}

func (a inArchive) config(ctx context.Context, d v1.Descriptor) error {
	f, err := os.Open(a.path(d.Digest))
	if err != nil {
		return errors.New("the archive does not hold it")
	}
	defer func() { _ = f.Close() }()
	return a.store.Put(ctx, d.Digest, d.Size, f)
}

// absent is a manifest that an index names and that is not beside it.
type absent struct{ error }

func (e absent) Unwrap() error { return e.error }
