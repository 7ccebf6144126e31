package write

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dustin/go-humanize"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/count"
)

// files are what a bundle is written to.
type files interface {
	io.Writer
	Files() []*os.File
	Close() error
}

// oneFile is a bundle that is not split.
type oneFile struct{ *os.File }

func (f oneFile) Files() []*os.File { return []*os.File{f.File} }

func createFiles(name string, partSize int64) (files, error) {
	var out files
	var err error
	if partSize > 0 {
		out, err = bundle.CreateParts(name, partSize)
	} else {
		var f *os.File
		f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		out = oneFile{f}
	}
	if err != nil {
		return nil, err
	}
	// The lock tells another sealbuild that somebody writes it.
	var st unix.Stat_t
	fd := int(out.Files()[0].Fd())
	if err := errors.Join(unix.Flock(fd, unix.LOCK_EX), unix.Fstat(fd, &st)); err != nil || st.Nlink == 0 {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, cmp.Or(err, errors.New("another sealbuild took it for a leftover: start again"))),
			out.Close(), os.Remove(name))
	}
	return out, nil
}

// CheckOutput refuses a place where no bundle can be written: it takes the place of a file, never of a device or a directory.
func CheckOutput(output string) error {
	dir := filepath.Dir(output)
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("write bundle %s: %w", output, err)
	} else if !info.IsDir() {
		return fmt.Errorf("write bundle %s: %s is not a directory", output, dir)
	}
	info, err := os.Stat(output)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("write bundle %s: %w", output, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("write bundle %s: it exists and is not a regular file", output)
	}
	return nil
}

// Contents is all that goes into a bundle.
type Contents struct {
	Stubs     []Installer // the first is the one that starts
	Images    []bundle.Image
	Blobs     []Blob // of all images, each once
	Documents []Document
}

// Size is how many bytes of blobs are to be written.
func (c Contents) Size() int64 {
	var n int64
	for _, b := range c.Blobs {
		if !b.Expected {
			n += b.Size
		}
	}
	return n
}

// Request says where a bundle is written, and how.
type Request struct {
	Output    string         // file to write
	PartSize  int64          // bytes of each file; 0 for one file
	Verify    bool           // read the finished file back from the disk
	Signer    *bundle.Signer // nil: not signed
	TrustKeys []string       // lines of keys that the installer demands of other payloads it opens
	ModTime   time.Time
}

// roomFor refuses to begin what cannot end. How far blobs can be compressed is known of those alone that are.
func roomFor(c Contents, output string) error {
	var least int64
	for _, i := range c.Stubs {
		least += i.size
	}
	for _, b := range c.Blobs {
		if !b.Expected && b.Compressed() {
			least += b.Size
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(output), &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; least > free {
		return fmt.Errorf("it takes %s or more, and %s are free in %s (an older bundle stays until the new one is whole)",
			humanize.IBytes(uint64(least)), humanize.IBytes(uint64(free)), filepath.Dir(output))
	}
	return nil
}

// writer is one bundle being written.
type writer struct {
	Request
	store *store.Store
	tell  report.Reporter
}

// Bundle writes a bundle under another name, checks it, and renames it: it returns the files, the first one first. It is no
// durable.Write: a bundle may be several files, which are read back between their sync and their names, and get those in one go.
func Bundle(ctx context.Context, tell report.Reporter, st *store.Store, c Contents, r Request) (names []string, sum bundle.Summary, err error) {
	w := writer{Request: r, store: st, tell: tell}
	if err := sweep(r.Output); err != nil {
		return nil, sum, fmt.Errorf("write bundle %s: %w", r.Output, err)
	}
	if err := roomFor(c, r.Output); err != nil {
		return nil, sum, fmt.Errorf("write bundle %s: %w", r.Output, err)
	}
	id := rand.Text()[:idLength]
	tmp := beside(r.Output, written) + id
	out, err := createFiles(tmp, r.PartSize)
	if err != nil {
		return nil, sum, fmt.Errorf("write bundle: %w", err)
	}
	defer func() {
		names := []string{}
		for _, f := range out.Files() {
			names = append(names, f.Name())
		}
		_ = out.Close()
		if err != nil {
			for _, name := range names {
				_ = os.Remove(name)
			}
		}
	}()
	tell.Phase("write "+r.Output, c.Size())
	if sum, err = w.write(ctx, &flushing{files: out}, c); err != nil {
		return nil, sum, fmt.Errorf("write bundle %s: %w", r.Output, w.healed(ctx, err))
	}
	for n, f := range out.Files() {
		mode := os.FileMode(0o644)
		if n == 0 {
			mode = 0o755
		}
		if err := errors.Join(f.Chmod(mode), f.Sync()); err != nil {
			return nil, sum, fmt.Errorf("write bundle %s: %w", r.Output, err)
		}
	}
	if err := w.check(ctx, out, tmp, sum); err != nil {
		return nil, sum, err
	}
	if names, err = giveNames(r.Output, id, len(out.Files())); err != nil {
		return nil, sum, fmt.Errorf("write bundle %s: %w", r.Output, err)
	}
	return names, sum, nil
}

func (w writer) write(ctx context.Context, out io.Writer, c Contents) (bundle.Summary, error) {
	o := bundle.WriterOptions{ModTime: w.ModTime, PartSize: w.PartSize, TrustKeys: w.TrustKeys}
	for n, i := range c.Stubs {
		s, done, err := i.stub()
		if err != nil {
			return bundle.Summary{}, err
		}
		defer func() { _ = done() }()
		if n == 0 {
			o.Stub, o.StubPlatform = s.Content, s.Platform
		} else {
			o.Stubs = append(o.Stubs, s)
		}
	}
	if w.Signer != nil {
		o.Sign = w.Signer.Sign
	}
	to, err := bundle.NewWriter(out, o)
	if err != nil {
		return bundle.Summary{}, err
	}
	if got := to.StubDigest(); got != c.Stubs[0].digest {
		return bundle.Summary{}, fmt.Errorf("installer %s changed while the bundle was written: %s, then %s", c.Stubs[0].path, c.Stubs[0].digest, got)
	}
	for _, part := range c.Blobs {
		if part.Expected {
			err = to.Expect(part.Digest, part.Size)
		} else {
			err = w.addBlob(ctx, to, part.Blob)
		}
		if err != nil {
			return bundle.Summary{}, err
		}
	}
	for _, d := range c.Documents {
		if err := to.AddDocument(d.Name, d.Content); err != nil {
			return bundle.Summary{}, err
		}
	}
	for _, i := range c.Images {
		if err := to.AddImage(i); err != nil {
			return bundle.Summary{}, err
		}
	}
	return to.Close()
}

func (w writer) addBlob(ctx context.Context, to *bundle.Writer, part store.Blob) error {
	size, ok := w.store.Has(part.Digest)
	if !ok {
		return fmt.Errorf("blob %s: %w", part.Digest, store.ErrIncomplete)
	}
	f, err := w.store.OpenBlob(part.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if states, ok := w.store.Hashed(part.Digest); ok && part.Compressed() {
		err = to.AddVerified(ctx, part.Digest, size, states, advancing{f, w.tell})
	} else {
		err = to.AddBlob(ctx, part.Digest, size, !part.Compressed(), advancing{f, w.tell})
	}
	if err != nil {
		return err
	}
	return w.store.Release(part.Digest)
}

// healed adds what to do when a blob was not what the store said it was.
func (w writer) healed(ctx context.Context, err error) error {
	var blob *bundle.BlobError
	if !errors.As(err, &blob) || ctx.Err() != nil {
		return err
	}
	if removed, _ := w.store.Heal(blob.Digest); removed {
		return fmt.Errorf("%w (what the image store held under this digest was damaged, and is removed: build again)", err)
	}
	return err
}

// advancing reports what is read.
type advancing struct {
	r    io.Reader
	tell report.Reporter
}

func (a advancing) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.tell.Advance(int64(n))
	return n, err
}

// check opens the finished files as a reader will: trailer, index, signature, and that every image resolves down to its last blob.
// The content was hashed on its way to write, so reading it again proves something only when it comes from the disk: with Verify
// the pages in memory are given up first.
func (w writer) check(ctx context.Context, out files, name string, s bundle.Summary) error {
	opened, err := bundle.OpenFile(name)
	if err != nil {
		return fmt.Errorf("open the bundle just written: %w", err)
	}
	defer func() { _ = opened.Close() }()
	if opened.IndexDigest() != s.IndexDigest {
		return fmt.Errorf("open the bundle just written: index is %s where %s was written", opened.IndexDigest(), s.IndexDigest)
	}
	if w.Signer != nil {
		if _, err := opened.SignedBy(); err != nil {
			return fmt.Errorf("open the bundle just written: %w", err)
		}
	}
	if err := Simulate(ctx, opened.Reader); err != nil {
		return fmt.Errorf("try the bundle just written: %w", err)
	}
	if !w.Verify {
		return nil
	}
	for _, f := range out.Files() {
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			w.tell.Note("the bundle is read back from memory, not from the disk: " + err.Error())
		}
	}
	w.tell.Phase("verify "+w.Output, s.Size)
	damage, err := Verify(ctx, opened.Reader, w.tell)
	if err != nil {
		return fmt.Errorf("verify the bundle just written: %w", err)
	}
	if len(damage) > 0 {
		return fmt.Errorf("verify the bundle just written: %s: %s (%s; is the disk sound?)", damage[0].Entry, damage[0].Reason, count.Of(len(damage), "damaged entry", "damaged entries"))
	}
	return nil
}

// Verify reads every byte of a bundle and lists the damaged entries.
func Verify(ctx context.Context, r *bundle.Reader, tell report.Reporter) ([]bundle.Damage, error) {
	var last int64
	return r.Verify(ctx, func(done, _ int64) {
		tell.Advance(done - last)
		last = done
	})
}

// flushEvery is after how many bytes what was written is sent to the disk, so that little is left to wait for at the end.
const flushEvery = 16 << 20

// flushing makes the disk work while a bundle is written.
type flushing struct {
	files
	n int64 // bytes since
}

func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.files.Write(p)
	if f.n += int64(n); f.n >= flushEvery {
		f.n = 0
		all := f.Files()
		// Nothing waits for it, and nothing depends on it.
		_ = unix.SyncFileRange(int(all[len(all)-1].Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
	return n, err
}
