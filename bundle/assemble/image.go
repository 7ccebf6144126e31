package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// BuildRequest says which cluster image to make.
type BuildRequest struct {
	Name     string            // of the image: kubernetes:v1.36.3
	Context  string            // the build context, a directory
	Kubefile string            // empty: the first default name in the context
	Args     map[string]string // --build-arg
	Labels   []string          // --label key=value
	Env      []string          // --env key=value
	Platform v1.Platform

	IgnoreScanErrors bool // report what may hide images and go on
}

// Build makes a cluster image and gathers what it needs: Kubefile, scan, build
// and gather, record. Images are looked for before anything is built, and the
// cluster image is recorded only when every one of them came.
func (b *Builder) Build(ctx context.Context, r BuildRequest) (store.Record, error) {
	name, err := store.Name(r.Name)
	if err != nil {
		return store.Record{}, err
	}
	src, err := openContext(r.Context, r.Kubefile, r.Args)
	if err != nil {
		return store.Record{}, err
	}
	found, err := b.scan(ctx, src, r.IgnoreScanErrors)
	if err != nil {
		return store.Record{}, err
	}
	bases, err := b.bases(src)
	if err != nil {
		return store.Record{}, err
	}
	built, gathered, err := b.buildAndGather(ctx, src, r, bases, found)
	if err != nil {
		return store.Record{}, err
	}
	rec := store.Record{
		Name:     name,
		Manifest: built.Descriptor,
		Platform: pull.Format(r.Platform),
		Created:  time.Now().UTC().Format(time.RFC3339),
		Inputs:   []store.Input{{Kind: "kubefile", Name: src.rel, Value: digest.FromBytes(src.text).String()}},
	}
	if err := b.describe(&rec); err != nil {
		return store.Record{}, err
	}
	for _, base := range bases {
		rec.Inputs = append(rec.Inputs, store.Input{Kind: "base", Name: base.Name, Value: base.Manifest.Digest.String()})
	}
	rec.Unresolved = gathered.unresolved
	rec.Images = inherit(gathered.images, bases)
	if rec.NeededUnique, err = b.uniqueSize(rec.Images); err != nil {
		return store.Record{}, err
	}
	if err := b.Store.Save(rec); err != nil {
		return store.Record{}, err
	}
	return rec, nil
}

// buildAndGather does both at once: one keeps the disk busy, the other the
// network. The first to fail ends the other; what was downloaded is kept.
func (b *Builder) buildAndGather(ctx context.Context, src *buildContext, r BuildRequest, bases []store.Record, found *scan.Result) (build.Result, gathered, error) {
	b.report().Phase("build "+r.Name+" and gather images", 0)
	var built build.Result
	var images gathered
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		built, err = b.buildImage(ctx, src, r, bases)
		return err
	})
	both.Go(func() (err error) {
		images, err = b.gather(ctx, src, found, r.Platform)
		return err
	})
	err := both.Wait()
	return built, images, err
}

// bases are the images of the local store that FROM names.
func (b *Builder) bases(src *buildContext) ([]store.Record, error) {
	var found []store.Record
	for i, stage := range src.file.Stages {
		if stage.Base == "scratch" || slices.ContainsFunc(src.file.Stages[:i], func(s kubefile.Stage) bool {
			return s.Name != "" && strings.EqualFold(s.Name, stage.Base)
		}) {
			continue
		}
		r, err := b.Store.Load(stage.Base)
		if errors.Is(err, store.ErrUnknownImage) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// FROM writes the name its own way; that is the one to be found again.
		r.Name = stage.Base
		found = append(found, r)
	}
	return found, nil
}

// inherit adds the images that the bases need; the image's own choice of a
// digest wins.
func inherit(own []store.Pinned, bases []store.Record) []store.Pinned {
	all := slices.Clone(own)
	for _, base := range bases {
		for _, p := range base.Images {
			if !slices.ContainsFunc(all, func(o store.Pinned) bool { return o.Ref == p.Ref }) {
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b store.Pinned) int { return strings.Compare(a.Ref, b.Ref) })
	return all
}

// buildImage runs buildah in a directory of the store's session and moves what
// it made into the store.
func (b *Builder) buildImage(ctx context.Context, src *buildContext, r BuildRequest, bases []store.Record) (build.Result, error) {
	scratch, err := b.Store.TempDir("build")
	if err != nil {
		return build.Result{}, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	edits, exclude := src.registryEdits()
	if len(exclude) > 0 {
		b.report().Note("registry/ of the context is left out of the image: its content is gathered anew and held once, in the bundle")
	}
	req := build.Request{
		Context:  src.dir,
		Kubefile: src.path,
		Edits:    edits,
		Exclude:  exclude,
		Args:     r.Args,
		Labels:   r.Labels,
		Env:      r.Env,
		Platform: r.Platform,
		Epoch:    b.Epoch,
		Scratch:  scratch,
		System:   b.System,
		Log:      b.log(),
	}
	for _, base := range bases {
		stored, err := b.Store.Load(base.Name)
		if err != nil {
			return build.Result{}, err
		}
		req.Preload = append(req.Preload, build.Preload{Name: base.Name, Layout: b.Store.Root(), Ref: stored.Name})
	}
	res, err := build.Build(ctx, req)
	if err != nil {
		return build.Result{}, err
	}
	if err := b.Store.ImportLayout(ctx, res.Layout); err != nil {
		return build.Result{}, err
	}
	return res, nil
}

// describe fills in what the built image itself says.
func (b *Builder) describe(rec *store.Record) error {
	config, err := b.imageConfig(rec.Manifest.Digest)
	if err != nil {
		return err
	}
	t, err := kubefile.TypeOf(config.Config.Labels)
	if err != nil {
		return fmt.Errorf("image %s: %w", rec.Name, err)
	}
	rec.Labels = config.Config.Labels
	rec.ClusterType = string(t)
	rec.Version = config.Config.Labels["version"]
	blobs, err := b.Store.Walk(rec.Manifest)
	if err != nil {
		return fmt.Errorf("image %s: %w", rec.Name, err)
	}
	rec.Size = store.Size(blobs)
	return nil
}

// imageConfig reads the config of a stored image that is no index.
func (b *Builder) imageConfig(d digest.Digest) (v1.Image, error) {
	raw, err := b.Store.ReadBlob(d, store.MaxManifest)
	if err != nil {
		return v1.Image{}, err
	}
	var m store.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return v1.Image{}, fmt.Errorf("read manifest %s: %w", d, err)
	}
	if m.Config == nil {
		return v1.Image{}, fmt.Errorf("manifest %s names no config", d)
	}
	raw, err = b.Store.ReadBlob(m.Config.Digest, store.MaxManifest)
	if err != nil {
		return v1.Image{}, err
	}
	var config v1.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return v1.Image{}, fmt.Errorf("read config %s: %w", m.Config.Digest, err)
	}
	return config, nil
}

// uniqueSize adds up the blobs of images, each once.
func (b *Builder) uniqueSize(images []store.Pinned) (int64, error) {
	seen := map[digest.Digest]int64{}
	for _, p := range images {
		blobs, err := b.Store.Walk(v1.Descriptor{Digest: p.Digest, MediaType: p.MediaType}, p.Platforms...)
		if err != nil {
			return 0, fmt.Errorf("image %s: %w", p.Ref, err)
		}
		for _, blob := range blobs {
			seen[blob.Digest] = blob.Size
		}
	}
	var total int64
	for _, n := range seen {
		total += n
	}
	return total, nil
}
