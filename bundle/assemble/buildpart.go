package assemble

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// inputBuild is the kind of the record's input that names everything an image was built from; its name is the platform.
const inputBuild = "build"

// buildPart makes the image of one platform: it takes the one that was made from the same inputs, if the store still has it, else
// it runs buildah in a directory of the store's session and moves what came of it into the store.
func (b *Builder) buildPart(ctx context.Context, p *building, r BuildRequest) error {
	scratch, err := b.Store.TempDir("build")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	edits, exclude := p.src.edits()
	if len(exclude) > 0 {
		b.report().Note("registry/ of the context is left out of the image: what it holds is held once, in the bundle")
	}
	req := build.Request{
		Context:  p.src.dir,
		Kubefile: p.src.path,
		File:     p.src.file,
		Edits:    edits,
		Exclude:  append(exclude, r.Exclude...),
		Args:     r.Args,
		Labels:   r.Labels,
		Env:      r.Env,
		Platform: p.platform,
		Secrets:  r.Secrets,
		SSH:      r.SSH,
		MayPull:  ofSeveralPlatforms(p.src.file),
		Epoch:    b.Epoch,
		Scratch:  scratch,
		System:   b.System,
		Log:      b.log(),
	}
	if r.Target != "" {
		req.Target = strconv.Itoa(p.src.file.Target())
	}
	lowest := p.src.file.Final()[0].Base
	for _, base := range p.preload {
		req.Preload = append(req.Preload, build.Preload{
			Name: base.as, Digest: base.root.Digest, Platform: base.platform, Below: base.name == lowest,
		})
		if _, ok := r.Contexts[base.name]; ok {
			req.Contexts = append(req.Contexts, build.NamedContext{Name: base.name, Image: base.as})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Contexts)) {
		if c := r.Contexts[name]; c.Dir != "" {
			req.Contexts = append(req.Contexts, build.NamedContext{Name: name, Dir: c.Dir, Exclude: c.Exclude})
		}
	}
	cache := ""
	if !r.NoCache {
		dir, err := filepath.Abs(p.src.dir)
		if err != nil {
			return err
		}
		cache = string(b.Store.Memo("context", dir))
	}
	if p.key, err = build.Key(ctx, req, p.src.file.Reads(), cache); err != nil {
		return err
	}
	if p.key != "" && !r.NoCache {
		if built, ok, err := b.builtBefore(p.key, p.platform); err != nil || ok {
			p.built = built
			return err
		}
	}
	for i, base := range p.preload {
		image, err := b.Store.OfPlatform(base.root, base.platform)
		if err == nil {
			err = store.Bounded(ctx, b.Store, image)
		}
		if err != nil {
			return fmt.Errorf("base image %s: %w", base.name, err)
		}
		req.Preload[i].Layout = filepath.Join(scratch, fmt.Sprintf("base-%d", i))
		if err := b.Store.ExportLayout(req.Preload[i].Layout, base.root, base.platform); err != nil {
			return fmt.Errorf("base image %s: %w", base.name, err)
		}
	}
	res, err := build.Build(ctx, req)
	if err != nil {
		return err
	}
	p.built = res.Descriptor
	return b.Store.ImportLayout(ctx, res.Layout)
}

// builtBefore finds a complete image of the store that was built from the same inputs.
func (b *Builder) builtBefore(key digest.Digest, platform v1.Platform) (v1.Descriptor, bool, error) {
	all, err := b.Store.List()
	if err != nil {
		return v1.Descriptor{}, false, err
	}
	for _, rec := range all {
		for _, in := range rec.Inputs {
			if in.Kind != inputBuild || in.Value != key.String() || in.Name != store.Platform(platform) {
				continue
			}
			d, err := b.Store.OfPlatform(rec.Manifest, platform)
			if err != nil {
				continue // damaged: it is built again
			}
			if _, err := b.Store.Walk(d); err == nil {
				return d, true, nil
			}
		}
	}
	return v1.Descriptor{}, false, nil
}
