package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// BundleRequest says which stored images make a bundle.
type BundleRequest struct {
	Images   []string // cluster images; the rootfs is put first, else the order is kept
	Output   string   // file to write
	Stub     string   // file of the installer; empty: the one shipped with sealbuild
	NoVerify bool     // do not read the finished file once more
}

// Written is a finished bundle.
type Written struct {
	Path    string
	Images  []bundle.Image
	Summary bundle.Summary
}

// Bundle writes stored cluster images, and every container image they need,
// into one file. It is written beside its destination, read once more as a
// whole with every digest checked, and then given its name; until then an
// older file of that name stays as it was.
func (b *Builder) Bundle(ctx context.Context, r BundleRequest) (w Written, err error) {
	records, err := b.load(r.Images)
	if err != nil {
		return Written{}, err
	}
	platform, err := ParsePlatform(records[0].Platform)
	if err != nil {
		return Written{}, err
	}
	stub, err := findStub(r.Stub, platform)
	if err != nil {
		return Written{}, err
	}
	images, err := b.contents(records, stub, platform)
	if err != nil {
		return Written{}, err
	}
	parts, total, err := b.parts(images)
	if err != nil {
		return Written{}, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(r.Output), "."+filepath.Base(r.Output)+".new-")
	if err != nil {
		return Written{}, fmt.Errorf("write bundle: %w", err)
	}
	defer func() {
		_ = tmp.Close()
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	b.report().Phase("write "+r.Output, total)
	summary, err := b.write(ctx, tmp, stub, pull.Format(platform), images, parts)
	if err != nil {
		return Written{}, fmt.Errorf("write bundle %s: %w", r.Output, err)
	}
	if err := tmp.Chmod(0o755); err != nil {
		return Written{}, fmt.Errorf("write bundle %s: %w", r.Output, err)
	}
	if err := tmp.Sync(); err != nil {
		return Written{}, fmt.Errorf("write bundle %s: %w", r.Output, err)
	}
	if err := b.check(ctx, tmp, summary, r); err != nil {
		return Written{}, err
	}
	if err := os.Rename(tmp.Name(), r.Output); err != nil {
		return Written{}, fmt.Errorf("write bundle: %w", err)
	}
	if err := syncDir(filepath.Dir(r.Output)); err != nil {
		return Written{}, fmt.Errorf("write bundle %s: %w", r.Output, err)
	}
	return Written{Path: r.Output, Images: images, Summary: summary}, nil
}

// load finds the records and puts the rootfs first.
func (b *Builder) load(names []string) ([]store.Record, error) {
	if len(names) == 0 {
		return nil, errors.New("a bundle needs at least one cluster image")
	}
	var records []store.Record
	var missing []error
	for _, name := range names {
		r, err := b.Store.Load(name)
		if errors.Is(err, store.ErrUnknownImage) {
			missing = append(missing, fmt.Errorf("%w (build it with -t %s; `sealbuild images` lists what is there)", err, name))
			continue
		}
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(records, func(o store.Record) bool { return o.Name == r.Name }) {
			records = append(records, r)
		}
	}
	if len(missing) > 0 {
		return nil, errors.Join(missing...)
	}
	slices.SortStableFunc(records, func(x, y store.Record) int { return cmp.Compare(rank(x), rank(y)) })
	var rootfs []string
	for _, r := range records {
		if r.Platform != records[0].Platform {
			return nil, fmt.Errorf("image %s is for %s and %s for %s: one bundle holds one platform",
				records[0].Name, records[0].Platform, r.Name, r.Platform)
		}
		if rank(r) == 0 {
			rootfs = append(rootfs, r.Name)
		}
	}
	switch {
	case len(rootfs) > 1:
		return nil, fmt.Errorf("%s are rootfs images: a cluster has exactly one", strings.Join(rootfs, " and "))
	case len(rootfs) == 0:
		b.report().Note("the bundle holds no rootfs image (Kubernetes itself): it adds to a cluster that exists, and cannot make one; --with adds one")
	}
	return records, nil
}

func rank(r store.Record) int {
	if r.ClusterType == string(kubefile.Rootfs) {
		return 0
	}
	return 1
}

// contents lists the images of the bundle: cluster images in order, then
// container images by name.
func (b *Builder) contents(records []store.Record, stub installer, platform v1.Platform) ([]bundle.Image, error) {
	var cluster, needed []bundle.Image
	for _, r := range records {
		cluster = append(cluster, bundle.Image{
			Name: r.Name, Digest: r.Manifest.Digest, MediaType: r.Manifest.MediaType, ManifestSize: r.Manifest.Size,
			Platforms: []string{r.Platform}, Size: r.Size, Kind: bundle.KindCluster, ClusterType: r.ClusterType,
		})
		for _, p := range r.Images {
			i := slices.IndexFunc(needed, func(o bundle.Image) bool { return o.Name == p.Ref })
			if i < 0 {
				needed = append(needed, neededImage(p))
				continue
			}
			if needed[i].Digest != p.Digest {
				b.report().Note(fmt.Sprintf("%s was resolved to %s and, for %s, to %s: the latter is taken; build the older image again to agree",
					p.Ref, needed[i].Digest, r.Name, p.Digest))
				needed[i] = neededImage(p)
			}
		}
	}
	if rank(records[0]) == 0 {
		care, err := b.careImage(stub, platform)
		if err != nil {
			return nil, err
		}
		needed = append(needed, neededImage(care))
	}
	slices.SortFunc(needed, func(x, y bundle.Image) int { return cmp.Compare(x.Name, y.Name) })
	return append(cluster, needed...), nil
}

func neededImage(p store.Pinned) bundle.Image {
	return bundle.Image{
		Name: p.Ref, Digest: p.Digest, MediaType: p.MediaType, ManifestSize: p.ManifestSize,
		Platforms: p.Platforms, Size: p.Size, Kind: bundle.KindImage,
	}
}

// parts lists the blobs of all images, each once, and their bytes.
func (b *Builder) parts(images []bundle.Image) ([]store.Blob, int64, error) {
	var all []store.Blob
	seen := map[string]bool{}
	var total int64
	for _, i := range images {
		blobs, err := b.Store.Walk(v1.Descriptor{Digest: i.Digest, MediaType: i.MediaType}, i.Platforms...)
		if err != nil {
			return nil, 0, fmt.Errorf("image %s: %w (build it again)", i.Name, err)
		}
		for _, blob := range blobs {
			if seen[blob.Digest.String()] {
				continue
			}
			seen[blob.Digest.String()] = true
			all = append(all, blob)
			total += blob.Size
		}
	}
	return all, total, nil
}

func (b *Builder) write(ctx context.Context, f io.Writer, stub installer, platform string, images []bundle.Image, parts []store.Blob) (bundle.Summary, error) {
	w, err := bundle.NewWriter(f, bundle.WriterOptions{Stub: stub.open(), StubPlatform: platform, ModTime: b.Epoch})
	if err != nil {
		return bundle.Summary{}, err
	}
	for _, part := range parts {
		if err := b.addBlob(ctx, w, part); err != nil {
			return bundle.Summary{}, err
		}
	}
	for _, i := range images {
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
	return w.AddBlob(ctx, part.Digest, size, !compressed(part), advancing{f, b.report()})
}

// compressed tells by its media type that a blob gains nothing from being
// compressed once more.
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

// check opens the finished file as a reader will, and reads all of it.
func (b *Builder) check(ctx context.Context, f *os.File, s bundle.Summary, r BundleRequest) error {
	opened, err := bundle.Open(f, s.Size)
	if err != nil {
		return fmt.Errorf("open the bundle just written: %w", err)
	}
	if opened.IndexDigest() != s.IndexDigest {
		return fmt.Errorf("open the bundle just written: index is %s where %s was written", opened.IndexDigest(), s.IndexDigest)
	}
	if r.NoVerify {
		return nil
	}
	b.report().Phase("verify "+r.Output, s.Size)
	damage, err := VerifyBundle(ctx, opened, b.report())
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

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
