package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// inPlaceDriver names the driver below in errors.
const inPlaceDriver = "sealbuild-in-place"

// placeDriver shows a catalog and its source to the distribution registry as the directory tree it knows. Nothing of the
// tree exists: paths are taken apart and answered from the catalog, and contents come from the source.
type placeDriver struct {
	blobs map[digest.Digest]int64
	repos map[string]*catalog.Links
	names []string
	src   *verifiedSource
	tree  func() *treeNode // for listing only; made when first needed
}

func newPlaceDriver(c catalog.Catalog, src catalog.Source) (*placeDriver, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := &placeDriver{blobs: map[digest.Digest]int64{}, repos: map[string]*catalog.Links{}, src: &verifiedSource{src: src, right: map[digest.Digest]struct{}{}}}
	for _, r := range c.Repositories {
		p := r.Links()
		for _, b := range append(r.Layers[:len(r.Layers):len(r.Layers)], r.Manifests...) {
			d.blobs[b.Digest] = b.Size
		}
		d.repos[r.Name] = p
		d.names = append(d.names, r.Name)
	}
	d.tree = sync.OnceValue(d.buildTree)
	return d, nil
}

// lookup returns the digest a path stands for: a blob's content, or the text of a link.
func (d *placeDriver) lookup(p string) (dig digest.Digest, isLink, ok bool) {
	rest, found := strings.CutPrefix(p, "/"+disk.LayoutRoot+"/")
	if !found {
		return "", false, false
	}
	if strings.HasPrefix(rest, "blobs/") {
		parts := strings.Split(rest, "/")
		if len(parts) != 5 || parts[1] != "sha256" || parts[4] != "data" || !strings.HasPrefix(parts[3], parts[2]) {
			return "", false, false
		}
		dig = digest.NewDigestFromEncoded(digest.SHA256, parts[3])
		_, ok = d.blobs[dig]
		return dig, false, ok
	}
	rest, found = strings.CutPrefix(rest, "repositories/")
	at := strings.Index(rest, "/_")
	if !found || at < 0 {
		return "", false, false
	}
	repo := d.repos[rest[:at]]
	if repo == nil {
		return "", false, false
	}
	dig, ok = linked(repo, strings.Split(rest[at+1:], "/"))
	return dig, true, ok
}

// linked resolves a link's path below its repository.
func linked(r *catalog.Links, parts []string) (digest.Digest, bool) {
	n := len(parts)
	if n < 4 || parts[n-1] != "link" {
		return "", false
	}
	if n == 5 && parts[1] == "tags" && parts[3] == "current" {
		d, ok := r.Tags[parts[2]]
		return d, ok
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(parts[n-3]), parts[n-2])
	switch {
	case n == 4 && parts[0] == "_layers":
		return d, r.Layers[d]
	case n == 5 && parts[0] == "_manifests" && parts[1] == "revisions":
		return d, r.Manifests[d]
	case n == 7 && parts[0] == "_manifests" && parts[1] == "tags" && parts[3] == "index":
		return d, r.Tags[parts[2]] == d
	}
	return "", false
}

func (d *placeDriver) Name() string { return inPlaceDriver }

func (d *placeDriver) GetContent(ctx context.Context, p string) ([]byte, error) {
	r, err := d.Reader(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, ocigraph.MaxManifest+1))
	if err == nil && len(data) > ocigraph.MaxManifest {
		err = d.failure(errors.New("content is too large to be a manifest"))
	}
	return data, err
}

func (d *placeDriver) Reader(ctx context.Context, p string, offset int64) (io.ReadCloser, error) {
	dig, isLink, ok := d.lookup(p)
	switch {
	case !ok:
		return nil, driver.PathNotFoundError{Path: p, DriverName: inPlaceDriver}
	case isLink:
		if offset < 0 || offset > int64(len(dig)) {
			return nil, driver.InvalidOffsetError{Path: p, Offset: offset, DriverName: inPlaceDriver}
		}
		return io.NopCloser(strings.NewReader(string(dig[offset:]))), nil
	case offset < 0 || offset > d.blobs[dig]:
		return nil, driver.InvalidOffsetError{Path: p, Offset: offset, DriverName: inPlaceDriver}
	}
	r, err := d.src.open(ctx, catalog.Blob{Digest: dig, Size: d.blobs[dig]}, offset, true)
	if err != nil {
		return nil, d.failure(err)
	}
	return r, nil
}

func (d *placeDriver) Stat(_ context.Context, p string) (driver.FileInfo, error) {
	info := driver.FileInfoFields{Path: p, ModTime: time.Unix(0, 0)}
	if dig, isLink, ok := d.lookup(p); ok {
		info.Size = d.blobs[dig]
		if isLink {
			info.Size = int64(len(dig))
		}
		return driver.FileInfoInternal{FileInfoFields: info}, nil
	}
	node := d.tree().find(p)
	if node == nil {
		return nil, driver.PathNotFoundError{Path: p, DriverName: inPlaceDriver}
	}
	info.IsDir = node.children != nil
	return driver.FileInfoInternal{FileInfoFields: info}, nil
}

func (d *placeDriver) List(_ context.Context, p string) ([]string, error) {
	node := d.tree().find(p)
	if node == nil || node.children == nil {
		return nil, driver.PathNotFoundError{Path: p, DriverName: inPlaceDriver}
	}
	list := make([]string, 0, len(node.children))
	for name := range node.children {
		list = append(list, path.Join(p, name))
	}
	return list, nil
}

func (d *placeDriver) Walk(ctx context.Context, p string, f driver.WalkFn, options ...func(*driver.WalkOptions)) error {
	return driver.WalkFallback(ctx, d, p, f, options...)
}

func (d *placeDriver) RedirectURL(*http.Request, string) (string, error) { return "", nil }

// The registry is read-only, so the methods below are never called.

func (d *placeDriver) PutContent(context.Context, string, []byte) error { return d.readOnly() }
func (d *placeDriver) Move(context.Context, string, string) error       { return d.readOnly() }
func (d *placeDriver) Delete(context.Context, string) error             { return d.readOnly() }
func (d *placeDriver) Writer(context.Context, string, bool) (driver.FileWriter, error) {
	return nil, d.readOnly()
}

func (d *placeDriver) readOnly() error {
	return driver.ErrUnsupportedMethod{DriverName: inPlaceDriver}
}

func (d *placeDriver) failure(err error) error {
	return driver.Error{DriverName: inPlaceDriver, Detail: err}
}
