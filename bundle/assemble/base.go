package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/kubefile"
)

// base is an image that a Kubefile names after FROM or --from.
type base struct {
	name   string // as it is written there
	as     string // the name that the builder is given: another one for a build context
	root   v1.Descriptor
	of     []basePlatform
	below  bool            // as wantedBase has it
	claims []resolve.Claim // what it needs, if it is a cluster image
	charts *store.Charts   // of those that come with it

	registry bool // a layer of it holds container images
}

// basePlatform tells for which platform's image a base is needed, and for which platform the base is: FROM --platform may name
// another.
type basePlatform struct{ part, platform v1.Platform }

func (p basePlatform) same(o basePlatform) bool {
	return store.Platform(p.part) == store.Platform(o.part) && store.Platform(p.platform) == store.Platform(o.platform)
}

// preloaded is a base as one platform's image needs it.
type preloaded struct {
	base
	platform v1.Platform
}

// wantedBase is the name of a base, and for which platforms it is named there.
type wantedBase struct {
	name  string
	of    []basePlatform
	below bool // the image is built on it, and does not only copy files from it
	stage bool // it stands behind a FROM: its commands run
}

// platforms are those of the base that are needed, each once.
func (w wantedBase) platforms() []v1.Platform {
	var all []v1.Platform
	for _, of := range w.of {
		if !slices.ContainsFunc(all, func(p v1.Platform) bool { return store.Platform(p) == store.Platform(of.platform) }) {
			all = append(all, of.platform)
		}
	}
	return all
}

// bases finds the images that a Kubefile names, in the store, else in a registry. A base that the image is built on is fetched with
// every container image that it needs; an image from which files are only copied is not, since the built image is searched for
// them. Problems that may hide images are reported for all bases together.
func (b *Builder) bases(ctx context.Context, wanted []wantedBase, contexts map[string]NamedContext, ignoreErrors bool) ([]base, error) {
	var all []base
	var hiding []error
	for _, w := range wanted {
		one, platforms := base{name: w.name, as: w.name, of: w.of, below: w.below, charts: &store.Charts{}}, w.platforms()
		if named := contexts[w.name]; named.Image != "" {
			one.as = named.Image
		} else if named.Layout != "" {
			var err error
			if one.root, err = b.importLayout(ctx, named.Layout); err != nil {
				return nil, fmt.Errorf("build context %s: %w", w.name, err)
			}
		}
		if one.root.Digest != "" {
			all = append(all, one)
			if w.below {
				brought, err := b.brought(ctx, w.name, "", one.root, platforms, ignoreErrors)
				if err != nil {
					return nil, fmt.Errorf("build context %s: %w", w.name, err)
				}
				last := &all[len(all)-1]
				last.claims, last.charts, last.registry = resolve.Claims(brought.Images, platforms, 0), brought.Charts, brought.Registry
			}
			continue
		}
		rec, err := b.Store.Load(one.as)
		if err == nil {
			if missing := lacks(rec.Platform, platforms); missing != "" {
				return nil, fmt.Errorf("base image %s of the store is for %s, not for %s: build or pull it for that platform, too", w.name, rec.Platform, missing)
			}
			one.root, one.claims, one.charts, one.registry = rec.Manifest, resolve.Claims(rec.Images, platforms, 0), rec.Charts, rec.Registry
			all = append(all, one)
			continue
		}
		if !errors.Is(err, store.ErrUnknownImage) {
			return nil, fmt.Errorf("base image %s: %w", w.name, err)
		}
		fetch := b.resolver().FetchFiles
		if w.stage {
			fetch = b.resolver().Fetch
		}
		var from string
		if one.root, from, err = fetch(ctx, one.as, platforms); err != nil {
			return nil, fmt.Errorf("base image %s: %w", w.name, err)
		}
		all = append(all, one)
		if !w.below {
			continue
		}
		brought, err := b.brought(ctx, w.name, from, one.root, platforms, ignoreErrors)
		if scan := new(search.Error); errors.As(err, &scan) {
			hiding = append(hiding, fmt.Errorf("base image %s: %w", w.name, err))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("base image %s: %w", w.name, err)
		}
		last := &all[len(all)-1]
		last.claims, last.charts, last.registry = resolve.Claims(brought.Images, platforms, 0), brought.Charts, brought.Registry
	}
	return all, errors.Join(hiding...)
}

// lacks names a platform that a record's list of platforms does not hold.
func lacks(have string, want []v1.Platform) string {
	list := strings.Split(have, ",")
	for _, p := range want {
		if name := store.Platform(p); !slices.Contains(list, name) && !store.SameFamily(list, name) {
			return name
		}
	}
	return ""
}

// inherited tells what a stage takes over from its base.
func (b *Builder) inherited(bases []preloaded) func(string) (kubefile.Config, bool) {
	return func(name string) (kubefile.Config, bool) {
		i := slices.IndexFunc(bases, func(o preloaded) bool { return o.name == name })
		if i < 0 {
			return kubefile.Config{}, false
		}
		config, err := b.Store.Config(bases[i].root, bases[i].platform)
		if err != nil {
			return kubefile.Config{}, false // the build says what is wrong
		}
		c := search.Config(config)
		c.OnBuild, err = b.onBuild(bases[i].root, bases[i].platform)
		return c, err == nil
	}
}

// onBuild are the instructions that an image has to be done by who builds on it. OCI's configuration has none, that of docker has.
func (b *Builder) onBuild(root v1.Descriptor, platform v1.Platform) ([]string, error) {
	one, err := b.Store.OfPlatform(root, platform)
	if err != nil {
		return nil, err
	}
	m, err := ocigraph.Read(b.Store, one.Digest)
	if err != nil || m.Config == nil {
		return nil, err
	}
	raw, err := b.Store.ReadBlob(m.Config.Digest, ocigraph.MaxManifest)
	if err != nil {
		return nil, err
	}
	var image struct {
		Config struct{ OnBuild []string } `json:"config"`
	}
	err = json.Unmarshal(raw, &image)
	return image.Config.OnBuild, err
}

// Stored is what an image of the store hands on to an image that is built on it.
func (b *Builder) Stored(name string, platform v1.Platform) (kubefile.Config, bool) {
	rec, err := b.Store.Load(name)
	if err != nil {
		return kubefile.Config{}, false
	}
	return b.inherited([]preloaded{{base{name: name, root: rec.Manifest}, platform}})(name)
}
