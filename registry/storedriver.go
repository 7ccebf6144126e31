package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/registry/disk"
	"golang.org/x/sys/unix"
)

// storeDriverName is what the distribution registry calls its own driver of this layout.
const storeDriverName = "filesystem"

// storeDriver lets the distribution registry read and write a store's directory tree. What it has written is on the disk before
// it says so, in the order in which the registry writes: blobs before the links that name them.
type storeDriver struct{ store *disk.Store }

func (d storeDriver) Name() string { return storeDriverName }

// full returns the path of a file of the tree. The names in paths were checked before; this is the second check.
func (d storeDriver) full(p string) (string, error) {
	local := strings.TrimPrefix(p, "/")
	if !strings.HasPrefix(p, "/") || p != path.Clean(p) || !filepath.IsLocal(local) || strings.ContainsRune(p, 0) {
		return "", driver.InvalidPathError{Path: p, DriverName: storeDriverName}
	}
	return d.store.Path(local), nil
}

// failure says of an error that it is about a file that is not there, as the distribution registry wants it.
func (d storeDriver) failure(p string, err error) error {
	// A tag's name may be longer than what a filesystem takes, and a part of a path may be a file: neither is there.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG) {
		return driver.PathNotFoundError{Path: p, DriverName: storeDriverName}
	}
	return err
}

func (d storeDriver) GetContent(ctx context.Context, p string) ([]byte, error) {
	r, err := d.Reader(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, ocigraph.MaxManifest+1))
	if err == nil && len(data) > ocigraph.MaxManifest {
		err = driver.Error{DriverName: storeDriverName, Detail: fmt.Errorf("%s is too large to be a manifest", p)}
	}
	return data, err
}

func (d storeDriver) Reader(_ context.Context, p string, offset int64) (io.ReadCloser, error) {
	full, err := d.full(p)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(full)
	if err != nil {
		return nil, d.failure(p, err)
	}
	fi, err := f.Stat()
	if err == nil && (offset < 0 || offset > fi.Size()) {
		err = driver.InvalidOffsetError{Path: p, Offset: offset, DriverName: storeDriverName}
	}
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// PutContent replaces a small file.
func (d storeDriver) PutContent(_ context.Context, p string, content []byte) error {
	full, err := d.full(p)
	if err != nil {
		return err
	}
	if err := makeDurable(filepath.Dir(full)); err != nil {
		return err
	}
	if err := durable.Write(full, content, 0o644); err != nil {
		return err
	}
	d.back(full)
	return nil
}

// Move gives a file another name.
func (d storeDriver) Move(_ context.Context, from, to string) error {
	source, err := d.full(from)
	if err != nil {
		return err
	}
	target, err := d.full(to)
	if err != nil {
		return err
	}
	if err := makeDurable(filepath.Dir(target)); err != nil {
		return err
	}
	if err := durable.Rename(source, target); err != nil {
		return d.failure(from, err)
	}
	d.back(target)
	return nil
}

// back removes the damaged file that was put aside, when the blob is there again; as a rule there is none.
func (d storeDriver) back(full string) {
	if filepath.Base(full) == "data" {
		_ = os.Remove(full + disk.AsideSuffix)
	}
}

func (d storeDriver) Stat(_ context.Context, p string) (driver.FileInfo, error) {
	full, err := d.full(p)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(full)
	if err != nil {
		return nil, d.failure(p, err)
	}
	info := driver.FileInfoFields{Path: p, ModTime: fi.ModTime(), IsDir: fi.IsDir()}
	if !info.IsDir {
		info.Size = fi.Size()
	}
	return driver.FileInfoInternal{FileInfoFields: info}, nil
}

func (d storeDriver) List(_ context.Context, p string) ([]string, error) {
	full, err := d.full(p)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(full)
	if err != nil {
		return nil, d.failure(p, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(0)
	if err != nil {
		return nil, d.failure(p, err)
	}
	for i, name := range names {
		names[i] = path.Join(p, name)
	}
	return names, nil
}

func (d storeDriver) Delete(_ context.Context, p string) error {
	full, err := d.full(p)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(full); err != nil {
		return d.failure(p, err)
	}
	return os.RemoveAll(full)
}

func (d storeDriver) Walk(ctx context.Context, p string, f driver.WalkFn, options ...func(*driver.WalkOptions)) error {
	return driver.WalkFallback(ctx, d, p, f, options...)
}

func (d storeDriver) RedirectURL(*http.Request, string) (string, error) { return "", nil }

// Writer writes the file of an upload, from its beginning or behind what it has.
func (d storeDriver) Writer(_ context.Context, p string, behind bool) (driver.FileWriter, error) {
	full, err := d.full(p)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return nil, err
	}
	flag := os.O_WRONLY | os.O_CREATE
	if !behind {
		flag |= os.O_TRUNC
	}
	f, err := os.OpenFile(full, flag, 0o644)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &uploadFile{file: f, size: size}, nil
}

// uploadFile is an upload while a request writes to it.
type uploadFile struct {
	file   *os.File
	size   int64
	closed bool
}

func (u *uploadFile) Write(p []byte) (int, error) {
	n, err := u.file.Write(p)
	u.size += int64(n)
	return n, err
}

func (u *uploadFile) Size() int64 { return u.size }

// Close leaves the upload for the next request. Only what becomes a blob is made durable.
func (u *uploadFile) Close() error {
	if u.closed {
		return nil
	}
	u.closed = true
	return u.file.Close()
}

func (u *uploadFile) Cancel(context.Context) error {
	err := os.Remove(u.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // it has become a blob
	}
	return errors.Join(u.Close(), err)
}

func (u *uploadFile) Commit(context.Context) error { return u.file.Sync() }

// makeDurable makes a directory, and those above it, such that a power cut does not take away those that it made.
func makeDurable(dir string) error {
	err := os.Mkdir(dir, 0o755)
	switch {
	case err == nil:
		return durable.SyncDir(filepath.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := makeDurable(filepath.Dir(dir)); err != nil {
		return err
	}
	return makeDurable(dir)
}
