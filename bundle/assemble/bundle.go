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
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/kubefile"
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
	if err := write.CheckOutput(r.Output); err != nil {
		return Written{}, err
	}
	c, err := b.prepareBundle(ctx, r)
	if err != nil {
		return Written{}, err
	}
	w := Written{Path: r.Output, Images: c.Images}
	w.Parts, w.Summary, err = write.Bundle(ctx, b.report(), b.Store, c, write.Request{
		Output: r.Output, PartSize: r.PartSize, Verify: r.Verify, Signer: r.Signer, TrustKeys: r.TrustKeys, ModTime: b.Epoch,
	})
	if err != nil {
		return Written{}, err
	}
	for _, blob := range c.Blobs {
		if blob.Expected {
			w.Left++
			w.Saved += blob.Size
		}
	}
	return w, nil
}

func (b *Builder) prepareBundle(ctx context.Context, r BundleRequest) (c write.Contents, err error) {
	records, err := b.load(r.Images)
	if err != nil {
		return c, err
	}
	platforms, err := store.ParsePlatforms(records[0].Platform)
	if err != nil {
		return c, err
	}
	if err := b.renderAgain(ctx, records, platforms); err != nil {
		return c, err
	}
	if c.Stubs, err = write.FindStubs(r.Stub, platforms); err != nil {
		return c, err
	}
	if c.Images, err = b.contents(ctx, records, c.Stubs, platforms); err != nil {
		return c, err
	}
	for n := range c.Stubs {
		c.Stubs[n].Forget()
	}
	if c.Documents, err = write.Documents(ctx, b.report(), b.Store, b.Epoch, records, c.Stubs, c.Images, r.Packages); err != nil {
		return c, err
	}
	c.Blobs, err = write.Blobs(b.Store, c.Images, r.Have)
	return c, err
}

// renderAgain gathers what the charts of images need with the Kubernetes of the bundle's rootfs, and have not needed with the one
// that they were rendered for when they were built.
func (b *Builder) renderAgain(ctx context.Context, records []store.Record, platforms []v1.Platform) error {
	site := scan.KubeVersion(records[0].Version)
	if rank(records[0]) != 0 || site == "" {
		return nil
	}
	site = "v" + strings.TrimPrefix(site, "v")
	for i := range records {
		rec := &records[i]
		was := scan.DefaultKubeVersion // as it was for records of before
		if c := rec.Charts; c != nil {
			was = cmp.Or(c.KubeVersion, was)
			if !c.Depends || c.KubeVersion == site {
				continue
			}
		}
		images, err := b.ofEach(rec.Name, rec.Manifest, platforms)
		if err != nil {
			return fmt.Errorf("image %s: %w", rec.Name, err)
		}
		for n := range images {
			images[n].Was, images[n].Kube = was, site
		}
		more, err := b.needed(ctx, images, false)
		if err != nil {
			return fmt.Errorf("the charts of %s were rendered for Kubernetes %s, and this bundle brings %s, for which they need more: %w "+
				"(or build it for that version: --with %s)", rec.Name, was, site, err, records[0].Name)
		}
		settled, err := resolve.Settle(b.Store, more.Claims)
		if err != nil {
			return fmt.Errorf("image %s: %w", rec.Name, err)
		}
		for _, p := range settled {
			if !slices.ContainsFunc(rec.Images, func(o store.Pinned) bool { return o.Ref == p.Ref }) {
				b.report().Note(fmt.Sprintf("%s needs %s on Kubernetes %s", rec.Name, p.Ref, site))
				rec.Images = append(rec.Images, p)
			}
		}
	}
	return nil
}

// CheckWith finds, before an image is built for some platforms, what would keep it from a bundle with others of the store. It
// returns the Kubernetes version of a rootfs among those.
func (b *Builder) CheckWith(with []string, platforms []v1.Platform) (kube string, err error) {
	want := store.FormatPlatforms(platforms)
	for _, name := range with {
		rec, err := b.Store.Load(name)
		if err != nil {
			return "", fmt.Errorf("--with %s: %w (sealbuild images lists what is there)", name, err)
		}
		if rec.Platform != want {
			return "", fmt.Errorf("--with %s: it is for %s, and the image is built for %s: build both for the same platforms (--platform)", name, rec.Platform, want)
		}
		if rank(rec) == 0 {
			kube = scan.KubeVersion(rec.Version)
		}
	}
	return kube, nil
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

// slim is a cluster image as it goes into the bundle, and how many bytes it reaches.
func (b *Builder) slim(ctx context.Context, r store.Record, platforms []v1.Platform) (v1.Descriptor, int64, error) {
	if !r.Registry {
		return r.Manifest, r.Size, nil
	}
	b.report().Phase("leave registry/ out of "+r.Name, 0)
	root, err := write.Slim(ctx, b.Store, r.Manifest, platforms, search.RegistryTree)
	if err != nil || root.Digest == r.Manifest.Digest {
		return root, r.Size, err
	}
	blobs, err := b.Store.Walk(root, strings.Split(r.Platform, ",")...)
	return root, store.Size(blobs), err
}

// contents lists the images of the bundle: cluster images in order, then container images by name. Where cluster images were built
// when a tag meant another image, the last of them decides, for the platforms that it has.
func (b *Builder) contents(ctx context.Context, records []store.Record, stubs []write.Installer, platforms []v1.Platform) ([]bundle.Image, error) {
	var cluster []bundle.Image
	var all []resolve.Claim
	resolved := map[string]resolve.Claim{}
	for n, r := range records {
		root, size, err := b.slim(ctx, r, platforms)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", r.Name, err)
		}
		cluster = append(cluster, bundle.Image{
			Name: r.Name, Digest: root.Digest, MediaType: root.MediaType, ManifestSize: root.Size,
			Platforms: strings.Split(r.Platform, ","), Size: size, Kind: bundle.KindCluster, ClusterType: r.ClusterType,
		})
		for _, c := range resolve.Claims(r.Images, platforms, len(records)-n) {
			all = append(all, c)
			was, ok := resolved[c.Ref]
			if ok && was.Digest != c.Digest && slices.ContainsFunc(c.Of, func(p string) bool { return slices.Contains(was.Of, p) }) {
				b.report().Note(fmt.Sprintf("%s was resolved to %s and, for %s, to %s: the latter is taken; build the older image again to agree",
					c.Ref, was.Digest, r.Name, c.Digest))
			}
			resolved[c.Ref] = c
		}
	}
	pinned, err := resolve.Settle(b.Store, all)
	if err != nil {
		return nil, err
	}
	if rank(records[0]) == 0 {
		care, err := write.Care(b.Store, stubs, platforms)
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
