package assemble

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// prepare parses the Kubefile for every platform and fetches what it is built on. A mistake in it is found before anything is
// fetched, as far as no base decides: its ENV may name further images, and its ONBUILD, too. So it is read again when bases are
// known.
func (b *Builder) prepare(ctx context.Context, r BuildRequest) ([]building, []base, error) {
	var known []base
	for {
		parts, wanted, err := b.open(r, known)
		if err != nil {
			return nil, nil, err
		}
		missing := slices.DeleteFunc(slices.Clone(wanted), func(w wantedBase) bool { return w.among(known) })
		if len(missing) == 0 {
			bases := inOrder(known, wanted)
			for i := range parts {
				parts[i].preload = preloadOf(bases, parts[i].platform)
			}
			return parts, bases, nil
		}
		more, err := b.bases(ctx, missing, r.Contexts, r.IgnoreScanErrors)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", parts[0].src.file.Name, err)
		}
		known = append(more, known...) // the later one of a name is for more platforms
	}
}

// open reads the Kubefile for every platform, with the bases that are known, and tells which images it names.
func (b *Builder) open(r BuildRequest, known []base) ([]building, []wantedBase, error) {
	var parts []building
	var wanted []wantedBase
	for _, p := range r.Platforms {
		options := append(Options(r, p), kubefile.WithBase(b.inherited(preloadOf(known, p))))
		src, err := openContext(r.Context, r.Kubefile, options...)
		if err == nil {
			err = src.check(r)
		}
		if err != nil {
			return nil, nil, err
		}
		parts = append(parts, building{platform: p, src: src})
		lowest := src.file.Final()[0].Base
		for _, name := range src.file.Reads().Images {
			i := slices.IndexFunc(wanted, func(w wantedBase) bool { return w.name == name })
			if i < 0 {
				i = len(wanted)
				wanted = append(wanted, wantedBase{name: name})
			}
			of, err := namedPlatform(src.file, name, p)
			if err != nil {
				return nil, nil, err
			}
			wanted[i].of = append(wanted[i].of, basePlatform{part: p, platform: of})
			wanted[i].below = wanted[i].below || name == lowest
			wanted[i].stage = wanted[i].stage || slices.ContainsFunc(src.file.Stages, func(s kubefile.Stage) bool { return s.Base == name })
		}
	}
	return parts, wanted, nil
}

// among tells whether a base is known as it is wanted.
func (w wantedBase) among(known []base) bool {
	return slices.ContainsFunc(known, func(b base) bool {
		if b.name != w.name || w.below && !b.below {
			return false
		}
		for _, of := range w.of {
			if !slices.ContainsFunc(b.of, of.same) {
				return false
			}
		}
		return true
	})
}

// inOrder are the bases in the order in which they are named.
func inOrder(known []base, wanted []wantedBase) (all []base) {
	for _, w := range wanted {
		i := slices.IndexFunc(known, func(b base) bool { return b.name == w.name })
		all = append(all, known[i])
	}
	return all
}

// preloadOf are the bases as the image of a platform needs them.
func preloadOf(bases []base, platform v1.Platform) (all []preloaded) {
	for _, base := range bases {
		for _, of := range base.of {
			if store.Platform(of.part) == store.Platform(platform) {
				all = append(all, preloaded{base, of.platform})
			}
		}
	}
	return all
}

// namedPlatform is the platform of an image that a Kubefile names: what --platform says, which is mostly that of the machine the
// build runs on, else that of the image to be built.
func namedPlatform(f *kubefile.File, name string, built v1.Platform) (v1.Platform, error) {
	for _, stage := range f.Stages {
		if stage.Base != name {
			continue
		}
		if stage.Platform == "" {
			break
		}
		p, err := store.ParsePlatform(stage.Platform)
		if err != nil {
			return v1.Platform{}, fmt.Errorf("FROM --platform=%s %s: %w", stage.Platform, name, err)
		}
		return p, nil
	}
	return built, nil
}

// ofSeveralPlatforms tells whether a Kubefile names an image for more than one platform. The builder keeps one image of a name, so
// it is left to pull the other.
func ofSeveralPlatforms(f *kubefile.File) bool {
	seen := map[string]string{}
	for _, stage := range f.Stages {
		if before, ok := seen[stage.Base]; ok && before != stage.Platform {
			return true
		}
		seen[stage.Base] = stage.Platform
	}
	return false
}

// Options are what a Kubefile is to be read with for a platform, for a build and for a plan of it.
func Options(r BuildRequest, p v1.Platform) []kubefile.Option {
	contexts := map[string]kubefile.Context{}
	for name, c := range r.Contexts {
		contexts[name] = kubefile.Context{Dir: c.Dir != "", Exclude: c.Exclude}
	}
	return []kubefile.Option{
		kubefile.WithBuildArgs(r.Args), kubefile.WithEnv(r.Env), kubefile.WithPlatform(p.OS, p.Architecture, p.Variant),
		kubefile.WithContexts(contexts), kubefile.WithTarget(r.Target),
	}
}
