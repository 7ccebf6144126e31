package assemble

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// BuildRequest says which cluster image to make.
type BuildRequest struct {
	Name      string            // of the image: kubernetes:v1.36.3
	Context   string            // the build context, a directory
	Kubefile  string            // empty: the first default name in the context
	Args      map[string]string // --build-arg
	Labels    []string          // --label key=value
	Env       []string          // --env key=value
	Exclude   []string          // paths of the context to leave out, in .dockerignore syntax
	Platforms []v1.Platform     // empty: this machine's; several make an index

	NoCache          bool // run every instruction, though nothing changed
	IgnoreScanErrors bool // report what may hide images and go on
}

// Build makes a cluster image and gathers what it needs: Kubefile, scan, build and gather, record. Images are looked for before
// anything is built, and the cluster image is recorded only when every one of them came.
func (b *Builder) Build(ctx context.Context, r BuildRequest) (store.Record, error) {
	name, err := store.Name(r.Name)
	if err != nil {
		return store.Record{}, err
	}
	if len(r.Platforms) == 0 {
		if r.Platforms, err = ParsePlatforms(""); err != nil {
			return store.Record{}, err
		}
	}
	parts, bases, err := b.prepare(ctx, r)
	if err != nil {
		return store.Record{}, err
	}
	looks, err := b.scan(ctx, parts, r)
	if err != nil {
		return store.Record{}, err
	}
	own, rest, err := contextImages(ctx, b, parts, looks)
	if err != nil {
		return store.Record{}, err
	}
	gathered, err := b.buildAndGather(ctx, r, parts, rest)
	if err != nil {
		return store.Record{}, err
	}
	gathered.claims = append(gathered.claims, own...)
	built, err := b.hidden(ctx, r, parts, looks)
	if err != nil {
		return store.Record{}, err
	}
	gathered.add(built, 1)
	rec := store.Record{
		Name:     name,
		Platform: formatPlatforms(r.Platforms),
		Created:  time.Now().UTC().Format(time.RFC3339),
		Inputs:   []store.Input{{Kind: "kubefile", Name: parts[0].src.rel, Value: digest.FromBytes(parts[0].src.text).String()}},
	}
	for _, part := range parts {
		if part.key != "" {
			rec.Inputs = append(rec.Inputs, store.Input{Kind: inputBuild, Name: store.Platform(part.platform), Value: part.key.String()})
		}
	}
	if rec.Manifest, err = b.join(parts); err != nil {
		return store.Record{}, err
	}
	for _, base := range bases {
		rec.Inputs = append(rec.Inputs, store.Input{Kind: "base", Name: base.name, Value: base.root.Digest.String()})
	}
	rec.Unresolved = gathered.unresolved
	for i, base := range bases { // the image's own choice of a digest wins
		for _, c := range base.claims {
			c.level = inheritedLevel + i
			gathered.claims = append(gathered.claims, c)
		}
	}
	if rec.Images, err = b.settle(gathered.claims); err != nil {
		return store.Record{}, err
	}
	b.noteForeign(rec.Images, gathered)
	return b.record(rec, r.Platforms)
}

// inheritedLevel is above the levels of what an image needs itself, so that those decide.
const inheritedLevel = 10

// building is the image of one platform.
type building struct {
	platform v1.Platform
	src      *buildContext // parsed for the platform
	preload  []preloaded
	key      digest.Digest // names the inputs; empty when they cannot be known
	built    v1.Descriptor
}

// prepare parses the Kubefile for every platform and fetches what it is built
// on. A mistake in it is found before anything is fetched.
func (b *Builder) prepare(ctx context.Context, r BuildRequest) ([]building, []base, error) {
	var parts []building
	var wanted []wantedBase
	for _, p := range r.Platforms {
		src, err := openContext(r.Context, r.Kubefile, kubefileOptions(r, p)...)
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
		}
	}
	if len(wanted) == 0 {
		return parts, nil, nil
	}
	bases, err := b.bases(ctx, wanted, r.IgnoreScanErrors)
	if err != nil {
		return nil, nil, err
	}
	for i := range parts {
		part := &parts[i]
		for _, base := range bases {
			for _, of := range base.of {
				if store.Platform(of.part) == store.Platform(part.platform) {
					part.preload = append(part.preload, preloaded{base, of.platform})
				}
			}
		}
		options := append(kubefileOptions(r, part.platform), kubefile.WithBase(b.inherited(part.preload)))
		if part.src, err = openContext(r.Context, r.Kubefile, options...); err != nil {
			return nil, nil, err
		}
	}
	return parts, bases, nil
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
		p, err := ParsePlatform(stage.Platform)
		if err != nil {
			return v1.Platform{}, fmt.Errorf("FROM --platform=%s %s: %w", stage.Platform, name, err)
		}
		return p, nil
	}
	return built, nil
}

func kubefileOptions(r BuildRequest, p v1.Platform) []kubefile.Option {
	return []kubefile.Option{kubefile.WithBuildArgs(r.Args), kubefile.WithPlatform(p.OS, p.Architecture, p.Variant)}
}

// buildAndGather does both at once: one keeps the disk busy, the other the
// network. The first to fail ends the other; what was downloaded is kept.
func (b *Builder) buildAndGather(ctx context.Context, r BuildRequest, parts []building, looks []look) (gathered, error) {
	b.report().Phase("build "+r.Name+" and gather images", 0)
	var images gathered
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		for i := range parts {
			if err := b.buildPart(ctx, &parts[i], r); err != nil {
				return err
			}
		}
		return nil
	})
	both.Go(func() (err error) {
		images, err = b.gather(ctx, looks)
		return err
	})
	err := both.Wait()
	return images, err
}

// join makes one image of the platforms' images: the image itself when there is one, else an index.
func (b *Builder) join(parts []building) (v1.Descriptor, error) {
	if len(parts) == 1 {
		return parts[0].built, nil
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, p := range parts {
		d := p.built
		d.Platform = &p.platform
		index.Manifests = append(index.Manifests, d)
	}
	return b.putJSON(v1.MediaTypeImageIndex, index)
}

// record completes a record with what the image itself says, and saves it.
func (b *Builder) record(rec store.Record, platforms []v1.Platform) (store.Record, error) {
	sizes := map[digest.Digest]int64{rec.Manifest.Digest: rec.Manifest.Size}
	for i, p := range platforms {
		config, err := b.config(rec.Manifest, p)
		if err != nil {
			return store.Record{}, fmt.Errorf("image %s: %w", rec.Name, err)
		}
		t, err := kubefile.TypeOf(config.Config.Labels)
		if err != nil {
			return store.Record{}, fmt.Errorf("image %s: %w", rec.Name, err)
		}
		if i > 0 && rec.ClusterType != string(t) {
			return store.Record{}, fmt.Errorf("image %s is of type %s for %s and of type %s for %s",
				rec.Name, rec.ClusterType, store.Platform(platforms[0]), t, store.Platform(p))
		}
		if i == 0 {
			rec.Labels = config.Config.Labels
		}
		rec.ClusterType = string(t)
		rec.Version = config.Config.Labels["version"]
		if err := b.sizes(rec.Manifest, p, sizes); err != nil {
			return store.Record{}, fmt.Errorf("image %s: %w", rec.Name, err)
		}
	}
	for _, n := range sizes {
		rec.Size += n
	}
	var err error
	if rec.NeededUnique, err = b.uniqueSize(rec.Images); err != nil {
		return store.Record{}, err
	}
	if err := b.Store.Save(rec); err != nil {
		return store.Record{}, err
	}
	return rec, nil
}

// sizes notes the blobs of a platform's image.
func (b *Builder) sizes(root v1.Descriptor, p v1.Platform, into map[digest.Digest]int64) error {
	one, err := b.ofPlatform(root, p)
	if err != nil {
		return err
	}
	blobs, err := b.Store.Walk(one)
	for _, blob := range blobs {
		into[blob.Digest] = blob.Size
	}
	return err
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
