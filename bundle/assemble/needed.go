package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// ofEach is an image that is to be searched for every platform.
func (b *Builder) ofEach(name string, root v1.Descriptor, platforms []v1.Platform) ([]search.Image, error) {
	var all []search.Image
	for _, p := range platforms {
		one, err := b.Store.OfPlatform(root, p)
		if err != nil {
			return nil, err
		}
		all = append(all, search.Image{Name: name, Manifest: one, Platform: p})
	}
	return all, nil
}

// needed gathers the container images that images of the store will make a cluster pull, each for its platform. Those that a
// registry/ directory holds, as in images made by sealos, are read out of the layers; the others are pulled. The images themselves
// stay as they are.
//
// What may hide images is an error, as in a context, unless the image brings a registry/: then its maker has gathered what it
// needs, it is taken as it is, and what is wrong with its files is told, as is a suspected image that is not to be had.
func (b *Builder) needed(ctx context.Context, images []search.Image, ignoreErrors bool) (resolve.Gathered, error) {
	var looks, gathered []search.Look // gathered: of images that bring a registry/
	var own []resolve.Claim
	charts, registry := &store.Charts{}, false
	var fatal, told []*scan.Result
	for _, image := range images {
		dir, err := b.Store.TempDir("inside")
		if err != nil {
			return resolve.Gathered{}, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		in, err := search.Layers(ctx, b.report(), b.Store, image, dir)
		if err != nil {
			return resolve.Gathered{}, err
		}
		if in.Registry {
			told = append(told, &scan.Result{Errors: in.Errors})
		} else {
			fatal = append(fatal, &scan.Result{Errors: in.Errors})
		}
		charts, registry = charts.And(in.Charts), registry || in.Registry
		if in.Registry {
			gathered = append(gathered, in.Look)
		} else {
			looks = append(looks, in.Look)
		}
		for _, p := range in.Own {
			b.resolver().NoteOther(image.Name, p, image.Platform)
			own = append(own, resolve.Claim{Pinned: p, Of: []string{store.Platform(image.Platform)}, Level: 1})
		}
	}
	name := images[0].Name
	for _, e := range scan.Union(told...).Errors {
		b.report().Note("ignored in " + name + ", which brings a registry/: " + e.Error())
	}
	if err := search.Judge(b.report(), name, scan.Union(fatal...).Errors, ignoreErrors); err != nil {
		return resolve.Gathered{}, err
	}
	resolver := b.resolver()
	resolver.Lenient = ignoreErrors
	g, err := resolver.Gather(ctx, looks)
	if err != nil {
		return resolve.Gathered{}, err
	}
	resolver.Lenient = true // what their makers have left out may be switched off
	brought, err := resolver.Gather(ctx, gathered)
	g.Add(brought, 0)
	g.Claims, g.Charts, g.Registry = append(g.Claims, own...), charts, registry
	return g, err
}

// neededByBuilt searches the built images, since those are what the site gets, and gathers what they need beyond what the contexts
// have shown: charts, manifests and lists that a RUN has made, that came from another stage or image, or that lie somewhere else in
// the context than in the image. Layers of the base were searched with it.
func (b *Builder) neededByBuilt(ctx context.Context, r BuildRequest, parts []building, looks []search.Look) (resolve.Gathered, error) {
	ignore, err := os.ReadFile(filepath.Join(r.Context, scan.IgnoreFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return resolve.Gathered{}, fmt.Errorf("look for images in %s: %w", r.Context, err)
	}
	var images []search.Image
	for i, part := range parts {
		below, err := b.layersBelow(part, part.src.file.Final()[0].Base)
		if err != nil {
			return resolve.Gathered{}, err
		}
		images = append(images, search.Image{
			Name: r.Name, Manifest: part.built, Platform: part.platform, From: below, Ignore: ignore, Preview: &looks[i], Kube: r.Kube,
		})
	}
	return b.needed(ctx, images, r.IgnoreScanErrors)
}

// layersBelow is how many layers of the built image are those of its base.
func (b *Builder) layersBelow(part building, name string) (int, error) {
	for _, base := range part.preload {
		if base.name != name {
			continue
		}
		was, err := b.Store.Layers(base.root, base.platform)
		if err != nil {
			return 0, fmt.Errorf("base image %s: %w", name, err)
		}
		is, err := b.Store.Layers(part.built, part.platform)
		if err != nil {
			return 0, err
		}
		if is < was { // not one upon the other: all of it counts
			return 0, nil
		}
		return was, nil
	}
	return 0, nil
}
