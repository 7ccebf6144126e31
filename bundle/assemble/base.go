package assemble

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containers/image/v5/pkg/shortnames"
	"github.com/containers/image/v5/types"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// base is an image that a Kubefile names after FROM or --from.
type base struct {
	name   string // as it is written there
	root   v1.Descriptor
	of     []basePlatform
	claims []claim // what it needs, if it is a cluster image
}

// basePlatform tells for which platform's image a base is needed, and for which platform the base is: FROM --platform may name
// another.
type basePlatform struct{ part, platform v1.Platform }

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
func (b *Builder) bases(ctx context.Context, wanted []wantedBase, ignoreErrors bool) ([]base, error) {
	var all []base
	var hiding []error
	for _, w := range wanted {
		one, platforms := base{name: w.name, of: w.of}, w.platforms()
		rec, err := b.Store.Load(w.name)
		if err == nil {
			if missing := lacks(rec.Platform, platforms); missing != "" {
				return nil, fmt.Errorf("base image %s of the store is for %s, not for %s: build or pull it for that platform, too", w.name, rec.Platform, missing)
			}
			one.root, one.claims = rec.Manifest, claims(rec.Images, platforms, 0)
			all = append(all, one)
			continue
		}
		if !errors.Is(err, store.ErrUnknownImage) {
			return nil, err
		}
		var from string
		if one.root, from, err = b.fetchFrom(ctx, w.name, platforms); err != nil {
			return nil, fmt.Errorf("base image %s: %w", w.name, err)
		}
		all = append(all, one)
		if !w.below {
			continue
		}
		brought, err := b.brought(ctx, w.name, from, one.root, platforms, ignoreErrors)
		if scan := new(ScanError); errors.As(err, &scan) {
			hiding = append(hiding, fmt.Errorf("base image %s: %w", w.name, err))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("base image %s: %w", w.name, err)
		}
		all[len(all)-1].claims = claims(brought.Images, platforms, 0)
	}
	return all, errors.Join(hiding...)
}

// lacks names a platform that a record's list of platforms does not hold.
func lacks(have string, want []v1.Platform) string {
	list := strings.Split(have, ",")
	for _, p := range want {
		if name := store.Platform(p); !slices.Contains(list, name) && !sameFamily(list, name) {
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
		config, err := b.config(bases[i].root, bases[i].platform)
		if err != nil {
			return kubefile.Config{}, false // the build says what is wrong
		}
		return configOf(config), true
	}
}

// Stored is what an image of the store hands on to an image that is built on it.
func (b *Builder) Stored(name string, platform v1.Platform) (kubefile.Config, bool) {
	rec, err := b.Store.Load(name)
	if err != nil {
		return kubefile.Config{}, false
	}
	return b.inherited([]preloaded{{base{name: name, root: rec.Manifest}, platform}})(name)
}

// configOf is an image's config as a Kubefile sees it.
func configOf(image v1.Image) kubefile.Config {
	c := kubefile.Config{Labels: image.Config.Labels, Env: map[string]string{}}
	for _, kv := range image.Config.Env {
		k, v, _ := strings.Cut(kv, "=")
		c.Env[k] = v
	}
	c.Cmd, c.Entrypoint = shellLines(image.Config.Cmd), shellLines(image.Config.Entrypoint)
	return c
}

// shellLines drops the shell that builders put before the shell form.
func shellLines(command []string) []string {
	if len(command) == 3 && command[0] == "/bin/sh" && command[1] == "-c" {
		return command[2:]
	}
	return command
}

// fetchFrom takes an image out of a registry into the store, of an index the
// given platforms, and returns the full reference that it was found under.
func (b *Builder) fetchFrom(ctx context.Context, name string, platforms []v1.Platform) (v1.Descriptor, string, error) {
	var failures []error
	for _, ref := range candidates(b.System, name) {
		got, err := pull.Gather(ctx, b.Store, []pull.Wanted{{Ref: ref}}, b.pullOptions(platforms))
		if ctx.Err() != nil {
			return v1.Descriptor{}, "", ctx.Err()
		}
		if err == nil && len(got.Images) == 1 {
			p := got.Images[0]
			return v1.Descriptor{MediaType: p.MediaType, Digest: p.Digest, Size: p.ManifestSize}, ref, nil
		}
		failures = append(failures, err)
	}
	return v1.Descriptor{}, "", errors.Join(failures...)
}

func (b *Builder) pullOptions(platforms []v1.Platform) pull.Options {
	return pull.Options{Platforms: platforms, Jobs: b.Jobs, System: b.System, Progress: b.report()}
}

// candidates are the full references that a name may mean: registries.conf
// says so for short names, and without it they are Docker Hub's.
func candidates(sys *types.SystemContext, name string) []string {
	if !shortnames.IsShortName(name) {
		return []string{name}
	}
	resolved, err := shortnames.Resolve(sys, name)
	if err != nil || len(resolved.PullCandidates) == 0 {
		return []string{name}
	}
	var all []string
	for _, c := range resolved.PullCandidates {
		all = append(all, c.Value.String())
	}
	return all
}
