package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// BundleRequest says which stored images make a bundle.
type BundleRequest struct {
	Images    []string         // cluster images; the rootfs is put first, else the order is kept
	Output    string           // file to write
	Stub      string           // file of the installer for the first platform; empty: the one shipped with sealbuild
	Verify    bool             // read the finished file back from the disk
	Signer    *bundle.Signer   // nil: not signed
	TrustKeys []string         // lines of keys that the installer demands of other payloads it opens
	PartSize  int64            // bytes of each file; 0 for one file
	Have      bundle.Inventory // what the site has already, and is left out
	Packages  sbom.When        // whether the bill of materials lists the packages inside images; empty: if there is what finds them
}

// Written is a finished bundle.
type Written struct {
	Path    string
	Parts   []string // the files, Path first
	Images  []bundle.Image
	Summary bundle.Summary
	Left    int   // blobs left out because the site has them
	Saved   int64 // their bytes
}

// Bundle writes stored cluster images, and every container image they need, into one file or several parts. They are written beside
// their destination, opened and checked, and then given their names; until then an older file of that name stays as it was.
func (b *Builder) Bundle(ctx context.Context, r BundleRequest) (Written, error) {
	if err := CheckOutput(r.Output); err != nil {
		return Written{}, err
	}
	p, err := b.prepareBundle(ctx, r)
	if err != nil {
		return Written{}, err
	}
	return b.writeFiles(ctx, r, p)
}

// prepared is all that goes into a bundle.
type prepared struct {
	stubs     []installer
	images    []bundle.Image
	parts     []part
	total     int64 // bytes of the blobs to write
	documents []document
}

func (b *Builder) prepareBundle(ctx context.Context, r BundleRequest) (p prepared, err error) {
	records, err := b.load(r.Images)
	if err != nil {
		return p, err
	}
	platforms, err := ParsePlatforms(records[0].Platform)
	if err != nil {
		return p, err
	}
	for n, platform := range platforms {
		given := r.Stub
		if n > 0 {
			given = "" // it is for the first
		}
		stub, err := findStub(given, platform)
		if err != nil {
			return p, err
		}
		stub.platform = store.Platform(platform)
		p.stubs = append(p.stubs, stub)
	}
	if p.images, err = b.contents(records, p.stubs, platforms); err != nil {
		return p, err
	}
	for n := range p.stubs { // tens of MiB each
		p.stubs[n].data = nil
	}
	if p.documents, err = b.documents(ctx, records, p.stubs, p.images, r.Packages); err != nil {
		return p, err
	}
	p.parts, p.total, err = b.parts(p.images, r.Have)
	return p, err
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
			return nil, fmt.Errorf("image %s is for %s and %s for %s: build them for the same platforms (--platform)",
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

// contents lists the images of the bundle: cluster images in order, then container images by name. Where cluster images were built
// when a tag meant another image, the last of them decides, for the platforms that it has.
func (b *Builder) contents(records []store.Record, stubs []installer, platforms []v1.Platform) ([]bundle.Image, error) {
	var cluster []bundle.Image
	var all []claim
	resolved := map[string]claim{}
	for n, r := range records {
		cluster = append(cluster, bundle.Image{
			Name: r.Name, Digest: r.Manifest.Digest, MediaType: r.Manifest.MediaType, ManifestSize: r.Manifest.Size,
			Platforms: strings.Split(r.Platform, ","), Size: r.Size, Kind: bundle.KindCluster, ClusterType: r.ClusterType,
		})
		for _, c := range claims(r.Images, platforms, len(records)-n) {
			all = append(all, c)
			was, ok := resolved[c.Ref]
			if ok && was.Digest != c.Digest && slices.ContainsFunc(c.of, func(p string) bool { return slices.Contains(was.of, p) }) {
				b.report().Note(fmt.Sprintf("%s was resolved to %s and, for %s, to %s: the latter is taken; build the older image again to agree",
					c.Ref, was.Digest, r.Name, c.Digest))
			}
			resolved[c.Ref] = c
		}
	}
	pinned, err := b.settle(all)
	if err != nil {
		return nil, err
	}
	if rank(records[0]) == 0 {
		care, err := b.careImage(stubs, platforms)
		if err != nil {
			return nil, err
		}
		pinned = append(pinned, care)
	}
	slices.SortFunc(pinned, func(x, y store.Pinned) int { return cmp.Compare(x.Ref, y.Ref) })
	for _, p := range pinned {
		cluster = append(cluster, bundle.Image{
			Name: p.Ref, Digest: p.Digest, MediaType: p.MediaType, ManifestSize: p.ManifestSize,
			Platforms: p.Platforms, Size: p.Size, Kind: bundle.KindImage,
		})
	}
	return cluster, nil
}

// registryRefs are what a registry holds of an image: it, and what refers to it.
func registryRefs(i bundle.Image) []catalog.Ref {
	refs := []catalog.Ref{{Name: i.Name, Digest: i.Digest}}
	for _, r := range i.Referrers {
		refs = append(refs, refs[0].Beside(r.Digest))
	}
	return refs
}

// BaseInventory is what a site has in its registry once a bundle was installed
// there: the blobs of its container images, those it expected included.
func BaseInventory(ctx context.Context, r *bundle.Reader) (bundle.Inventory, error) {
	var refs []catalog.Ref
	for _, i := range r.Images() {
		if i.Kind == bundle.KindImage {
			refs = append(refs, registryRefs(i)...)
		}
	}
	images, err := catalog.Build(ctx, refs, inBundle{r})
	if err != nil {
		return nil, fmt.Errorf("list the images of the base: %w", err)
	}
	have := bundle.Inventory{}
	for _, b := range images.Blobs() {
		have[b.Digest] = b.Size
	}
	return have, nil
}

// part is a blob of the bundle to be, or one that is left out of it.
type part struct {
	store.Blob
	expected bool
}

// parts lists the blobs of all images, each once, and the bytes to write. Blobs that the site has are left out, but only such as
// its registry will be asked for: manifests stay, since they name what is missing, and so do the blobs of cluster images, which the
// installer reads itself.
func (b *Builder) parts(images []bundle.Image, have bundle.Inventory) ([]part, int64, error) {
	var all []part
	at := map[string]int{}
	var total int64
	for _, i := range images {
		blobs, err := b.Store.Walk(v1.Descriptor{Digest: i.Digest, MediaType: i.MediaType}, i.Platforms...)
		for _, r := range i.Referrers {
			below, wrong := b.Store.Walk(r)
			blobs, err = append(blobs, below...), errors.Join(err, wrong)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("image %s: %w (build it again)", i.Name, err)
		}
		for _, blob := range blobs {
			size, known := have[blob.Digest]
			expected := known && size == blob.Size && i.Kind == bundle.KindImage && !blob.Manifest
			if n, ok := at[blob.Digest.String()]; ok {
				if all[n].expected && !expected {
					all[n].expected = false
					total += blob.Size
				}
				continue
			}
			at[blob.Digest.String()] = len(all)
			all = append(all, part{blob, expected})
			if !expected {
				total += blob.Size
			}
		}
	}
	return all, total, nil
}
