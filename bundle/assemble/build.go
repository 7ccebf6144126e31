package assemble

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/oldpackage"
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// BuildRequest says which cluster image to make.
type BuildRequest struct {
	Name      string            // of the image: kubernetes:v1.36.3
	Context   string            // the build context: a directory, or an older offline package, packed or not
	Kubefile  string            // empty: the first default name in the context
	Args      map[string]string // --build-arg
	Labels    []string          // --label key=value
	Env       []string          // --env key=value
	Exclude   []string          // paths of the context to leave out, in .dockerignore syntax
	Platforms []v1.Platform     // empty: this machine's; several make an index
	Kube      string            // the Kubernetes version of the site, where something says it that is not in the Kubefile

	Target   string                  // --target: the stage that is the image; empty: the last
	Contexts map[string]NamedContext // --build-context, by their names
	Secrets  []build.Secret          // --secret: RUN may read them, and nothing keeps them
	SSH      []string                // --ssh: ID or ID=PATH,PATH

	NoCache          bool // run every instruction, though nothing changed
	IgnoreScanErrors bool // report what may hide images and go on
}

// Build makes a cluster image and gathers what it needs. Images are looked for before anything is built, and once more in what was
// built, which is what the site gets; the cluster image is recorded only when every one of them came.
func (b *Builder) Build(ctx context.Context, r BuildRequest) (store.Record, error) {
	name, err := store.Name(r.Name)
	if err != nil {
		return store.Record{}, err
	}
	if len(r.Platforms) == 0 {
		if r.Platforms, err = store.ParsePlatforms(""); err != nil {
			return store.Record{}, err
		}
	}
	with := *b
	with.offline = !r.NoCache
	b = &with
	carried, err := b.carry(ctx, &r)
	if err != nil {
		return store.Record{}, err
	}
	parts, bases, err := b.prepare(ctx, r)
	if err != nil {
		return store.Record{}, err
	}
	if carried { // it lies elsewhere in every build
		parts[0].src.rel = oldpackage.Name
	}
	preview, err := search.Context(ctx, b.report(), r.Context, contexts(parts, r), r.IgnoreScanErrors)
	if err != nil {
		return store.Record{}, err
	}
	own, rest, err := b.contextImages(ctx, parts, preview)
	if err != nil {
		return store.Record{}, err
	}
	gathered, err := b.buildAndGather(ctx, r, parts, rest)
	if err != nil {
		return store.Record{}, err
	}
	gathered.Claims = append(gathered.Claims, own...)
	beyond, err := b.neededByBuilt(ctx, r, parts, preview)
	if err != nil {
		return store.Record{}, err
	}
	gathered.Add(beyond, 1)
	charts, registry := beyond.Charts, beyond.Registry
	for i, base := range bases { // the image's own choice of a digest wins
		for _, c := range base.claims {
			c.Level = inheritedLevel + i
			gathered.Claims = append(gathered.Claims, c)
		}
		charts, registry = charts.And(base.charts), registry || base.registry
	}
	images, err := resolve.Settle(b.Store, gathered.Claims)
	if err != nil {
		return store.Record{}, err
	}
	b.resolver().NoteForeign(images, gathered)
	if err := b.bind(parts, images, r.Platforms); err != nil {
		return store.Record{}, err
	}
	root, err := b.join(parts, images)
	if err != nil {
		return store.Record{}, err
	}
	return b.record(store.Record{
		Name: name, Manifest: root, Platform: store.FormatPlatforms(r.Platforms), Created: time.Now().UTC().Format(time.RFC3339),
		Inputs: inputs(parts, bases), Images: images, Unresolved: gathered.Unresolved, Charts: charts, Registry: registry,
	}, r.Platforms)
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

// inputs are what an image was made from.
func inputs(parts []building, bases []base) []store.Input {
	all := []store.Input{{Kind: "kubefile", Name: parts[0].src.rel, Value: digest.FromBytes(parts[0].src.text).String()}}
	for _, part := range parts {
		if part.key != "" {
			all = append(all, store.Input{Kind: inputBuild, Name: store.Platform(part.platform), Value: part.key.String()})
		}
	}
	for _, base := range bases {
		all = append(all, store.Input{Kind: "base", Name: base.name, Value: base.root.Digest.String()})
	}
	return all
}

func contexts(parts []building, r BuildRequest) []search.Part {
	var all []search.Part
	for _, p := range parts {
		all = append(all, search.Part{Platform: p.platform, File: p.src.file, Env: r.Env, Kube: r.Kube})
	}
	return all
}

// buildAndGather does both at once: one keeps the disk busy, the other the
// network. The first to fail ends the other; what was downloaded is kept.
func (b *Builder) buildAndGather(ctx context.Context, r BuildRequest, parts []building, looks []search.Look) (resolve.Gathered, error) {
	b.report().Phase("build "+r.Name+" and gather images", 0)
	var images resolve.Gathered
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
		resolver := b.resolver()
		resolver.Lenient = r.IgnoreScanErrors
		images, err = resolver.Gather(ctx, looks)
		return err
	})
	err := both.Wait()
	return images, err
}

// join makes one image of the platforms' images: the image itself when there is one, else an index.
func (b *Builder) join(parts []building, images []store.Pinned) (v1.Descriptor, error) {
	if len(parts) == 1 {
		return parts[0].built, nil
	}
	all, err := needs(images)
	if err != nil {
		return v1.Descriptor{}, err
	}
	index := v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Annotations: map[string]string{needsAnnotation: all.String()},
	}
	for _, p := range parts {
		d := p.built
		d.Platform = &p.platform
		index.Manifests = append(index.Manifests, d)
	}
	return b.Store.PutJSON(v1.MediaTypeImageIndex, index)
}
