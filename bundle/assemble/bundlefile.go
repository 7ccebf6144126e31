package assemble

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/durable"
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
	if partSize > 0 {
		return bundle.CreateParts(name, partSize)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	return oneFile{f}, err
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

// writeFiles writes the bundle under another name, checks it, and renames it. It is no durable.Write: a bundle may be
// several files, which are read back between their sync and their names, and get those in one go.
func (b *Builder) writeFiles(ctx context.Context, r BundleRequest, p prepared) (w Written, err error) {
	dir, base := filepath.Split(r.Output)
	tmp := filepath.Join(dir, "."+base+".new-"+rand.Text()[:10])
	out, err := createFiles(tmp, r.PartSize)
	if err != nil {
		return Written{}, fmt.Errorf("write bundle: %w", err)
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
	b.report().Phase("write "+r.Output, p.total)
	if w.Summary, err = b.write(ctx, &flushing{files: out}, r, p); err != nil {
		return Written{}, fmt.Errorf("write bundle %s: %w", r.Output, b.healed(ctx, err))
	}
	for n, f := range out.Files() {
		mode := os.FileMode(0o644)
		if n == 0 {
			mode = 0o755
		}
		if err := errors.Join(f.Chmod(mode), f.Sync()); err != nil {
			return Written{}, fmt.Errorf("write bundle %s: %w", r.Output, err)
		}
	}
	if err := b.check(ctx, out, tmp, w.Summary, r); err != nil {
		return Written{}, err
	}
	if w.Parts, err = giveNames(tmp, r.Output, len(out.Files())); err != nil {
		return Written{}, fmt.Errorf("write bundle %s: %w", r.Output, err)
	}
	w.Path, w.Images = r.Output, p.images
	for _, part := range p.parts {
		if part.expected {
			w.Left++
			w.Saved += part.Size
		}
	}
	return w, nil
}

// giveNames renames the parts, the first one last: it is what people start. Of
// a bundle that is replaced, parts that are too many go.
func giveNames(tmp, output string, n int) ([]string, error) {
	var old []string
	if f, err := bundle.OpenFile(output); err == nil {
		old = f.Parts()
		_ = f.Close()
	}
	names := make([]string, n)
	for i := n; i >= 1; i-- {
		names[i-1] = bundle.PartName(output, i)
		if err := os.Rename(bundle.PartName(tmp, i), names[i-1]); err != nil {
			return nil, err
		}
	}
	for _, name := range old {
		if !slices.Contains(names, name) {
			if err := os.Remove(name); err != nil {
				return nil, err
			}
		}
	}
	return names, durable.SyncDir(filepath.Dir(output))
}

func (b *Builder) write(ctx context.Context, out io.Writer, r BundleRequest, p prepared) (bundle.Summary, error) {
	o := bundle.WriterOptions{ModTime: b.Epoch, PartSize: r.PartSize, TrustKeys: r.TrustKeys}
	for n, i := range p.stubs {
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
	if r.Signer != nil {
		o.Sign = r.Signer.Sign
	}
	w, err := bundle.NewWriter(out, o)
	if err != nil {
		return bundle.Summary{}, err
	}
	if got := w.StubDigest(); got != p.stubs[0].digest {
		return bundle.Summary{}, fmt.Errorf("installer %s changed while the bundle was written: %s, then %s", p.stubs[0].path, p.stubs[0].digest, got)
	}
	for _, part := range p.parts {
		if part.expected {
			err = w.Expect(part.Digest, part.Size)
		} else {
			err = b.addBlob(ctx, w, part.Blob)
		}
		if err != nil {
			return bundle.Summary{}, err
		}
	}
	for _, d := range p.documents {
		if err := w.AddDocument(d.name, d.content); err != nil {
			return bundle.Summary{}, err
		}
	}
	for _, i := range p.images {
		if err := w.AddImage(i); err != nil {
			return bundle.Summary{}, err
		}
	}
	return w.Close()
}

func (b *Builder) addBlob(ctx context.Context, w *bundle.Writer, part store.Blob) error {
	size, ok := b.Store.Has(part.Digest)
	if !ok {
		return fmt.Errorf("blob %s: %w", part.Digest, store.ErrIncomplete)
	}
	f, err := b.Store.OpenBlob(part.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if states, ok := b.Store.Hashed(part.Digest); ok && compressed(part) {
		err = w.AddVerified(ctx, part.Digest, size, states, advancing{f, b.report()})
	} else {
		err = w.AddBlob(ctx, part.Digest, size, !compressed(part), advancing{f, b.report()})
	}
	if err != nil {
		return err
	}
	return b.Store.Release(part.Digest)
}

// healed adds what to do when a blob was not what the store said it was.
func (b *Builder) healed(ctx context.Context, err error) error {
	var blob *bundle.BlobError
	if !errors.As(err, &blob) || ctx.Err() != nil {
		return err
	}
	if removed, _ := b.Store.Heal(blob.Digest); removed {
		return fmt.Errorf("%w (what the image store held under this digest was damaged, and is removed: build again)", err)
	}
	return err
}

// compressed tells by its media type that a blob gains nothing from being compressed once more.
func compressed(part store.Blob) bool {
	return strings.HasSuffix(part.MediaType, "gzip") || strings.HasSuffix(part.MediaType, "+zstd")
}

// advancing reports what is read.
type advancing struct {
	r      io.Reader
	report Reporter
}

func (a advancing) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.report.Advance(int64(n))
	return n, err
}

// check opens the finished files as a reader will: trailer, index, signature, and that every image resolves down to its last blob.
// The content was hashed on its way to write, so reading it again proves something only when it comes from the disk: with Verify
// the pages in memory are given up first.
func (b *Builder) check(ctx context.Context, out files, name string, s bundle.Summary, r BundleRequest) error {
	opened, err := bundle.OpenFile(name)
	if err != nil {
		return fmt.Errorf("open the bundle just written: %w", err)
	}
	defer func() { _ = opened.Close() }()
	if opened.IndexDigest() != s.IndexDigest {
		return fmt.Errorf("open the bundle just written: index is %s where %s was written", opened.IndexDigest(), s.IndexDigest)
	}
	if r.Signer != nil {
		if _, err := opened.SignedBy(); err != nil {
			return fmt.Errorf("open the bundle just written: %w", err)
		}
	}
	if err := Simulate(ctx, opened.Reader); err != nil {
		return fmt.Errorf("try the bundle just written: %w", err)
	}
	if !r.Verify {
		return nil
	}
	for _, f := range out.Files() {
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.report().Note("the bundle is read back from memory, not from the disk: " + err.Error())
		}
	}
	b.report().Phase("verify "+r.Output, s.Size)
	damage, err := VerifyBundle(ctx, opened.Reader, b.report())
	if err != nil {
		return fmt.Errorf("verify the bundle just written: %w", err)
	}
	if len(damage) > 0 {
		return fmt.Errorf("verify the bundle just written: %s: %s (%d damaged entries; is the disk sound?)", damage[0].Entry, damage[0].Reason, len(damage))
	}
	return nil
}

// VerifyBundle reads every byte of a bundle and lists the damaged entries.
func VerifyBundle(ctx context.Context, r *bundle.Reader, report Reporter) ([]bundle.Damage, error) {
	var last int64
	return r.Verify(ctx, func(done, _ int64) {
		report.Advance(done - last)
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
